"""Both networks of the paid demo: a chain in this process, and a coordinator and a worker beside it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import ComputeRouter
from compute_router.sdk.demo_network import (
    DemoWorker,
    coordinator_command,
    make_worker,
    wait_until_online,
    worker_command,
)
from compute_router.sdk.demo_processes import Process, Processes
from tools.local_chains.evm import LocalEvm
from tools.local_chains.solana import LocalSolana

_LISTENING: Final = re.compile(r"listening on (http://[^\s/]+)")
_START_TIMEOUT_S: Final = 60.0  # the coordinator waits for its facilitator, which imports for seconds
PLAY_MONEY: Final = MicroUsd(50_000)


@dataclass(frozen=True)
class PaidNetwork:
    """A chain with a seeker, an operator and a worker on it."""

    chain: Chain
    local: LocalEvm | LocalSolana
    url: str
    wallet: Path
    payer: str
    operator: str
    worker: DemoWorker
    database: Path

    @property
    def payer_in_books(self) -> str:
        """The payer as the ledger writes him: EVM addresses are in small letters there."""
        return self.payer.lower() if self.chain is Chain.MONAD else self.payer

    def ledger(self) -> dict[str, MicroUsd]:
        """Balances of all accounts in the coordinator's books, read beside it."""
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as books:
            sums = books.execute("SELECT account, SUM(amount) FROM ledger GROUP BY account").fetchall()
        return {account: MicroUsd(amount) for account, amount in sums}


@dataclass(frozen=True)
class _Accounts:
    wallet: Path
    payer: str
    operator: str
    facilitator_key: Path


@contextmanager
def paid_networks(processes: Processes, ollama_url: str) -> Iterator[list[PaidNetwork]]:
    """Start everything, both networks at the same time, and wait until both workers are online.

    Raises:
        DemoFailedError: something did not start.
    """
    with LocalEvm() as evm, LocalSolana() as solana:
        chains: dict[Chain, LocalEvm | LocalSolana] = {Chain.MONAD: evm, Chain.SOLANA: solana}
        accounts = {chain: _accounts(processes.directory, chain, local) for chain, local in chains.items()}
        coordinators = {
            chain: _start_coordinator(processes, chain, local, accounts[chain])
            for chain, local in chains.items()
        }
        networks = []
        for chain, local in chains.items():
            url = coordinators[chain].wait_for_line(_LISTENING, _START_TIMEOUT_S)[1]
            name = f"{chain.value} worker"
            worker = make_worker(processes.directory, name, ProviderType.DESKTOP)
            processes.start(name, worker_command(worker, url, ollama_url, None))
            own = accounts[chain]
            database = processes.directory / f"{chain.value}.db"
            networks.append(
                PaidNetwork(chain, local, url, own.wallet, own.payer, own.operator, worker, database)
            )
        for network in networks:
            with ComputeRouter(network.url, chain=network.chain, user_id="demo") as router:
                wait_until_online(processes, router, 1)
        yield networks


def _start_coordinator(
    processes: Processes, chain: Chain, local: LocalEvm | LocalSolana, accounts: _Accounts
) -> Process:
    command = coordinator_command(chain, processes.directory)
    command += ["--payments", "on", "--pay-to", accounts.operator, "--rpc-url", local.rpc_url]
    command += ["--facilitator", "local", "--facilitator-key", str(accounts.facilitator_key)]
    return processes.start(f"{chain.value} coordinator", command)


def _accounts(directory: Path, chain: Chain, local: LocalEvm | LocalSolana) -> _Accounts:
    """Keys of everybody, with what each needs: the seeker money, the facilitator gas."""
    wallet, facilitator_key = directory / f"{chain.value}-wallet.key", directory / f"{chain.value}-gas.key"
    payer = _new_key(local, wallet)
    facilitator = _new_key(local, facilitator_key)
    operator = _address(local.new_key())
    local.fund(payer, PLAY_MONEY)
    local.fund(operator, MicroUsd(0))
    local.fund_gas(facilitator)
    return _Accounts(wallet, payer, operator, facilitator_key)


def _new_key(local: LocalEvm | LocalSolana, path: Path) -> str:
    """Write a new key in its chain's form, for the owner only; gives its address."""
    key: Any = local.new_key()
    text = key.key.hex() if isinstance(local, LocalEvm) else json.dumps(list(bytes(key)))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    return _address(key)


def _address(key: Any) -> str:
    return str(key.address if hasattr(key, "address") else key.pubkey())
