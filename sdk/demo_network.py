"""The demo's network: one coordinator and three workers, on this machine and in one directory."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.networks import Chain
from compute_router.protocol.pairing import key_fingerprint
from compute_router.protocol.receipts import public_key_hex
from compute_router.sdk.cli_processes import MODULES
from compute_router.sdk.demo_processes import DemoFailedError, Processes
from compute_router.sdk.errors import (
    CoordinatorUnreachableError,
    FingerprintMismatchError,
    PairingTimeoutError,
)
from compute_router.sdk.retries import Clock
from compute_router.sdk.sync_client import ComputeRouter

START_TIMEOUT_S: Final = 20.0
_HEALTH_INTERVAL_S: Final = 0.1
_LISTENING: Final = re.compile(r"listening on (http://[^\s/]+)")


class DemoWorker(msgspec.Struct, frozen=True):
    """A worker of the demo, known by the key that the demo made for it."""

    name: str
    provider_type: ProviderType
    key_path: Path
    pubkey: str

    @property
    def kind(self) -> str:
        """The type as the worker's flag spells it."""
        return self.provider_type.value.lower()


class DemoNetwork(msgspec.Struct, frozen=True):
    """A running network. ``own`` is the worker that is paired with the demo's user."""

    router: ComputeRouter
    workers: tuple[DemoWorker, ...]
    own: DemoWorker

    def worker_of(self, pubkey: str | None) -> DemoWorker:
        """The worker with this key.

        Raises:
            DemoFailedError: none of this network has it.
        """
        for worker in self.workers:
            if worker.pubkey == pubkey:
                return worker
        raise DemoFailedError(f"The job was served by a worker that the demo did not start: {pubkey}.")


def start_coordinator(processes: Processes, chain: Chain) -> str:
    """Start a coordinator on a free port, and return its URL once it listens.

    Raises:
        DemoFailedError: it did not start.
    """
    process = processes.start("coordinator", coordinator_command(chain, processes.directory))
    return process.wait_for_line(_LISTENING, START_TIMEOUT_S)[1]


def start_workers(processes: Processes, router: ComputeRouter, ollama_url: str) -> DemoNetwork:
    """Start a desktop, a phone-like worker, and a desktop of the user's own, and wait for all of them.

    Raises:
        DemoFailedError: they did not come online in time, or the pairing is not there.
    """
    workers = tuple(
        make_worker(processes.directory, name, provider_type)
        for name, provider_type in (
            ("desktop", ProviderType.DESKTOP),
            ("phone", ProviderType.SEEKER),
            ("own desktop", ProviderType.DESKTOP),
        )
    )
    own = workers[-1]
    code = router.create_pairing()
    for worker in workers:
        pairing = code.pairing_code if worker is own else None
        processes.start(worker.name, worker_command(worker, router.base_url, ollama_url, pairing))
    wait_until_online(processes, router, len(workers))
    try:
        # It pairs before it comes online.
        router.await_pairing(code, timeout_s=0, fingerprint=key_fingerprint(own.pubkey))
    except (PairingTimeoutError, FingerprintMismatchError) as error:
        raise DemoFailedError(
            f"The worker that was given the pairing code is not paired with the user. {error}"
        ) from error
    return DemoNetwork(router, workers, own)


def wait_until_online(
    processes: Processes,
    router: ComputeRouter,
    workers: int,
    *,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask the coordinator until it sees this many workers.

    Raises:
        DemoFailedError: it does not within ``START_TIMEOUT_S``, or a process ended.
    """
    deadline = clock() + START_TIMEOUT_S
    while True:
        processes.check()
        try:
            online = router.health().workers_online
        except CoordinatorUnreachableError as error:
            raise DemoFailedError(f"The coordinator went away: {error}") from None
        if online >= workers:
            return
        if clock() >= deadline:
            raise DemoFailedError(f"Only {online} of {workers} workers came online in {START_TIMEOUT_S:g} s.")
        sleep(_HEALTH_INTERVAL_S)


def make_worker(directory: Path, name: str, provider_type: ProviderType) -> DemoWorker:
    """A worker with a new key, in the file form that workers read: the seed in hex, for the owner only."""
    seed = secrets.token_bytes(32)
    path = directory / f"{name.replace(' ', '-')}.key"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(seed.hex() + "\n")
    return DemoWorker(name, provider_type, path, public_key_hex(SigningKey(seed)))


def coordinator_command(chain: Chain, directory: Path) -> list[str]:
    """Command line of the coordinator."""
    database = directory / f"{chain.value}.db"
    module = MODULES["coordinator"]
    return [sys.executable, "-m", module, "--chain", chain.value, "--port", "0", "--db", str(database)]


def worker_command(worker: DemoWorker, url: str, ollama_url: str, pairing_code: str | None) -> list[str]:
    """Command line of a worker."""
    command = [sys.executable, "-m", MODULES["worker"], "--coordinator", url, "--type", worker.kind]
    command += ["--key", str(worker.key_path), "--ollama", ollama_url]
    return command if pairing_code is None else [*command, "--pair", pairing_code]
