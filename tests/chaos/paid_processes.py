"""One seed against real processes that are paid: coordinator, facilitator and payout program are killed.

The chain is a local one in this process, with real signatures and settlements. Between coordinator and
facilitator stands a proxy that lies.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw
import httpx

from compute_router.protocol.networks import Chain
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.chaos.faults import MONEY_POINTS, POINTS, Point
from tests.chaos.journal import Journal
from tests.chaos.money import PORT_POINTS
from tests.chaos.money_books import Books, WorkersBook
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.processes import HURRY, ROOT, USERS, WORKERS, ProcessRun, send
from tests.chaos.purses import Purse
from tests.chaos.real_money import RealMoney
from tests.chaos.sim_payer import ADMIN, ADMIN_KEY
from tests.chaos.sly_facilitator import SlyFacilitator

_LISTENING: Final = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
_PATIENCE_SECONDS: Final = 20.0
_SHORTEST_PAUSE_SECONDS: Final = 0.05
_PAYOUT_RUNS: Final = 4
_EVM_EVERY, _EVM_FIRST = 4, 2
_COUNTERS: Final = ("lose_answers", "refuse_broadcasts", "drop_transactions", "revert_transactions")
_OPEN: Final = "SELECT count(*) FROM payments WHERE state IN ('reserved', 'settling', 'unknown')"

_OWED: Final = """
SELECT (SELECT count(*) FROM payouts WHERE state IN ('recorded', 'sent', 'unknown'))
    + (SELECT count(*) FROM payout_addresses JOIN balances ON account = 'worker:' || pubkey WHERE amount > 0)
"""


class PaidRun(ProcessRun):
    """Everything of one seed."""

    points: Sequence[Point | str] = (*PORT_POINTS, *MONEY_POINTS, *POINTS)
    longest_countdown = 2

    def __init__(self, seed: int, directory: Path) -> None:
        # Most seeds are on Solana, whose chain costs less of this machine.
        self.chain = Chain.MONAD if seed % _EVM_EVERY == _EVM_FIRST else Chain.SOLANA
        self.money = RealMoney(self.chain, directory, len(USERS), WORKERS)
        self.journal = Journal(seed)
        super().__init__(seed, directory)
        self.facilitator = SlyFacilitator(self.chain, self.rng, self.journal, self._kill_under_way)
        self.facilitator_process: asyncio.subprocess.Process | None = None
        self.payouts: asyncio.subprocess.Process | None = None
        self.promises.vouches = self._vouches
        self.admin_key = directory / "admin.key"
        self._facilitator_port = 0
        self._node_heals_at = 0

    def _payout_address(self, number: int) -> str | None:
        return self.money.worker_addresses[number]

    def _purse(self, number: int) -> Purse | None:
        return Purse(self.money.signers[number], self.journal)

    def _money_flags(self) -> Sequence[str]:
        return (
            *("--payments", "on", "--pay-to", self.money.operator),
            *("--facilitator", self.facilitator.url, "--rpc-url", self.money.local.rpc_url),
        )

    def _vouches(self, payer: str, amount: int, reference: str | None) -> bool:
        return reference in self.facilitator.lies or self.money.vouches(payer, amount, reference)

    async def _before(self) -> None:
        self.admin_key.write_text(ADMIN)
        self.admin_key.chmod(0o600)
        store = open_sqlite_store(self.database)
        with store.transaction():
            store.put_api_key(ADMIN_KEY)
        store.close()
        await self.facilitator.start()
        await self._start_facilitator()

    async def _before_faults(self) -> None:
        if self.chain is Chain.SOLANA:
            # On the EVM chain authorizations live for an hour, so that nothing is settled early.
            await asyncio.gather(*(seeker.come_by_a_credit() for seeker in self.seekers))
        self.facilitator.unlucky = True

    async def _pause(self, seconds: float) -> None:
        """Not too short: while the facilitator is down nothing else slows seekers."""
        await asyncio.sleep(max(seconds * HURRY, _SHORTEST_PAUSE_SECONDS))

    # Faults

    def _kill_under_way(self) -> None:
        if not self.calm:
            self._kill()

    async def _money_fault(self) -> None:
        what = self.rng.randrange(8)
        faults = self.money.local.faults
        if what == 0 and self.facilitator_process is not None and self.rng.random() < 0.6:
            self.journal.fault("kill facilitator")
            send(self.facilitator_process, signal.SIGKILL)
        elif what == 1:
            counter = self.rng.choice(_COUNTERS)
            self.journal.fault(f"chain {counter}")
            faults.set({counter: 1})
        elif what == 2:
            name, value = self.rng.choice([("down", True), ("delay_s", 0.2), ("hold_transactions", True)])
            self.journal.fault(f"chain {name}")
            faults.set({name: value})
            self._node_heals_at = self.journal.now_ms() + self.rng.choice([100, 400, 1_000])
        elif what == 3 and self._no_payout_runs():
            await self._start_payouts(seconds=2)
        elif what == 4 and self.payouts is not None and not self._no_payout_runs():
            self.journal.fault("kill payout")
            send(self.payouts, signal.SIGKILL)

    async def _tick(self) -> None:
        self.money.tick()
        if self._node_heals_at and self.journal.now_ms() >= self._node_heals_at:
            self._node_heals_at = 0
            self.money.heal()
        if self.facilitator_process is None or self.facilitator_process.returncode is not None:
            await self._start_facilitator()

    def _no_payout_runs(self) -> bool:
        return self.payouts is None or self.payouts.returncode is not None

    # Processes

    async def _start_facilitator(self) -> None:
        self.facilitator_process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "compute_router.transport.facilitator", "--chain", self.chain.value),
            *("--key", str(self.money.gas_key), "--rpc-url", self.money.local.rpc_url),
            *("--port", str(self._facilitator_port), "--confirm-seconds", "1"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=(self.directory / "facilitator.log").open("ab"),
        )
        self._keep(self._read_address(self.facilitator_process))

    async def _read_address(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        listening = _LISTENING.search((await process.stdout.readline()).decode())
        if listening is not None:
            self.facilitator.target = listening.group(1)
        await process.wait()

    async def _start_payouts(self, seconds: int) -> None:
        self.journal.deals["runs of payout"] += 1
        self.payouts = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "compute_router.transport.payer",
                "--execute",
                "--chain",
                self.chain.value,
            ),
            *("--url", f"http://127.0.0.1:{self.port}", "--api-key-file", str(self.admin_key)),
            *("--rpc-url", self.money.local.rpc_url, "--key", str(self.money.purse_key)),
            *("--threshold", "0.000001", "--wait-seconds", str(seconds)),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=(self.directory / "payouts.log").open("ab"),
        )
        self._keep(self._heard(self.payouts))

    async def _heard(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.news.set()

    # The calm

    def _calm_money(self) -> None:
        self.facilitator.unlucky = False
        self._node_heals_at = 0
        self.money.heal()

    async def _payments_are_well(self) -> None:
        hearing = asyncio.ensure_future(self._health_is_good())
        await self._until(hearing.done, "health does not become good when all is calm")
        hearing.result()

    async def _health_is_good(self) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                said = (await self.http.get(f"http://127.0.0.1:{self.port}/v1/health")).json()
                if said["status"] == "ok" and said["payments"]["facilitator_ok"]:
                    return
            await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)

    def _payouts_failed(self) -> bool:
        return self.payouts is None or self.payouts.returncode != 0

    async def _settle_all(self) -> None:
        """Everybody spends credits, is paid, and what can happen no more is given up."""
        await self._until(self._no_payout_runs, "the payout program does not end")
        # A worker with an open payout of an earlier run is paid the rest by the next one.
        runs = 0
        # One that finds a transfer of an earlier run failed says so by its exit code.
        while runs < _PAYOUT_RUNS and (not runs or self._count(_OWED) or self._payouts_failed()):
            runs += 1
            await self._start_payouts(seconds=4)
            await self._until(self._no_payout_runs, "the payout program does not end")
        self.journal.money(
            MoneyPromise.DECIDED,
            not self._payouts_failed(),
            f"{runs} runs of the payout program cannot bring all to an end.",
        )
        self.money.outlive_authorizations()
        await self._until(self._no_payment_is_open, "payments are still open when all is calm")

    def _no_payment_is_open(self) -> bool:
        return not self._count(_OPEN)

    def _count(self, sql: str) -> int:
        file = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            count: int = file.execute(sql).get
            return count
        finally:
            file.close()

    def _check_money(self) -> None:
        file = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            lies = frozenset(
                name
                for name, reference in file.execute("SELECT payment_id, transaction_ref FROM payments")
                if reference in self.facilitator.lies
            )
            purses = [seeker.purse for seeker in self.seekers if seeker.purse is not None]
            accepted = {job_id: pubkey for job_id, (pubkey, _) in self.promises.accepted.items()}
            addresses = {one.pubkey: one.payout_address for one in self.workers if one.payout_address}
            workers = WorkersBook(accepted, addresses)
            Books(self.journal, file, purses, self.money.book(), workers, lies).compare()
        finally:
            file.close()

    async def _end(self) -> None:
        for process in (self.facilitator_process, self.payouts):
            if process is not None:
                send(process, signal.SIGKILL)
                await process.wait()
        await super()._end()
        await self.facilitator.close()
        self.money.close()
