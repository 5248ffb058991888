"""Both networks of the paid demo: a chain in this process, and a coordinator and a worker beside it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compute_router.protocol.api_keys import KeyRequest, KeyScope
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pairing import key_fingerprint
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.sdk import ComputeRouter, Wallet
from compute_router.sdk.demo_network import (
    DemoWorker,
    coordinator_command,
    make_worker,
    wait_until_online,
    worker_command,
)
from compute_router.sdk.demo_processes import Process, Processes
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store
from tools.local_chains.evm import LocalEvm
from tools.local_chains.solana import LocalSolana

PLAY_MONEY: Final = MicroUsd(50_000)
USER: Final = "demo"

_LISTENING: Final = re.compile(r"listening on (http://[^\s/]+)")
_START_TIMEOUT_S: Final = 60.0  # the coordinator waits for its facilitator, which imports for seconds


@dataclass(frozen=True)
class Account:
    """Somebody with a key on a chain."""

    key: Path
    address: str


@dataclass(frozen=True)
class PaidNetwork:
    """A chain with a seeker, an operator and a worker on it, and the coordinator between them.

    ``router`` is the seeker's client, with his wallet. The operator pays workers from where payments go to.
    """

    chain: Chain
    local: LocalEvm | LocalSolana
    router: ComputeRouter
    seeker: Account
    operator: Account
    worker: DemoWorker
    worker_account: Account
    admin_key: Path
    database: Path

    @property
    def label(self) -> str:
        """The chain's name."""
        return NETWORKS[self.chain].label


@dataclass(frozen=True)
class _Place:
    """What exists before the coordinator does."""

    chain: Chain
    local: LocalEvm | LocalSolana
    directory: Path
    seeker: Account
    operator: Account
    worker: Account
    facilitator: Account
    database: Path
    admin_key: Path


@contextmanager
def paid_networks(processes: Processes, ollama_url: str) -> Iterator[list[PaidNetwork]]:
    """Start everything, both networks at the same time, and wait until both workers are online.

    Raises:
        DemoFailedError: something did not start.
    """
    with ExitStack() as stack:
        places = [
            _place(processes.directory, Chain.MONAD, stack.enter_context(LocalEvm())),
            _place(processes.directory, Chain.SOLANA, stack.enter_context(LocalSolana())),
        ]
        coordinators = [_start_coordinator(processes, place) for place in places]
        networks = []
        for place, coordinator in zip(places, coordinators, strict=True):
            url = coordinator.wait_for_line(_LISTENING, _START_TIMEOUT_S)[1]
            router = stack.enter_context(_client(place, url))
            networks.append(_start_worker(processes, place, router, ollama_url))
        for network in networks:
            wait_until_online(processes, network.router, 1)
        yield networks


def _place(directory: Path, chain: Chain, local: LocalEvm | LocalSolana) -> _Place:
    """Keys of everybody, with what each needs: the seeker money, whoever sends transactions gas."""
    seeker, operator, worker, facilitator = (
        _new_account(local, directory / f"{chain.value}-{name}.key")
        for name in ("seeker", "operator", "payout", "gas")
    )
    local.fund(seeker.address, PLAY_MONEY)
    local.fund(operator.address, MicroUsd(0))
    local.fund_gas(operator.address)
    local.fund_gas(facilitator.address)
    database = directory / f"{chain.value}.db"
    admin_key = directory / f"{chain.value}-admin.key"
    _write_private(admin_key, _new_admin_key(database))
    return _Place(chain, local, directory, seeker, operator, worker, facilitator, database, admin_key)


def _start_coordinator(processes: Processes, place: _Place) -> Process:
    command = coordinator_command(place.chain, place.directory)
    command += ["--payments", "on", "--pay-to", place.operator.address, "--rpc-url", place.local.rpc_url]
    command += ["--facilitator", "local", "--facilitator-key", str(place.facilitator.key)]
    return processes.start(f"{place.chain.value} coordinator", command)


def _client(place: _Place, url: str) -> ComputeRouter:
    """The seeker's. Nothing of this machine's settings counts."""
    return ComputeRouter(
        url,
        chain=place.chain,
        user_id=USER,
        api_key="",
        trust_file=place.directory / f"{place.chain.value}-seeker" / "trust.json",
        wallet=Wallet.from_file(place.seeker.key, chain=place.chain, rpc_url=place.local.rpc_url),
        require_verified=True,
    )


def _start_worker(processes: Processes, place: _Place, router: ComputeRouter, ollama_url: str) -> PaidNetwork:
    """One worker, paired with the seeker, so that his PRIVATE jobs can be sealed to it."""
    name = f"{place.chain.value} worker"
    worker = make_worker(processes.directory, name, ProviderType.DESKTOP)
    code = router.create_pairing()
    command = worker_command(worker, router.base_url, ollama_url, code.pairing_code)
    processes.start(name, [*command, "--payout-address", place.worker.address])
    router.await_pairing(code, fingerprint=key_fingerprint(worker.pubkey), timeout_s=_START_TIMEOUT_S)
    return PaidNetwork(
        chain=place.chain,
        local=place.local,
        router=router,
        seeker=place.seeker,
        operator=place.operator,
        worker=worker,
        worker_account=place.worker,
        admin_key=place.admin_key,
        database=place.database,
    )


def _new_account(local: LocalEvm | LocalSolana, path: Path) -> Account:
    """Write a new key in its chain's form."""
    key: Any = local.new_key()
    _write_private(path, key.key.hex() if isinstance(local, LocalEvm) else json.dumps(list(bytes(key))))
    return Account(path, str(key.address if isinstance(local, LocalEvm) else key.pubkey()))


def _new_admin_key(database: Path) -> str:
    """What ``compute-router keys create --db`` makes, for a coordinator that was never started."""
    open_sqlite_store(database).close()
    wanted = KeyRequest(scope=KeyScope.ADMIN, user_id=None, name="payouts")
    return make_api_key(database, wanted, UnixMs(time.time_ns() // 1_000_000))


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
