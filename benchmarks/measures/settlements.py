"""Settlements that pile up because the facilitator does not answer: whom they slow, and how fast they drain.

Jobs that are paid by credit need no settlement. They are done on two coordinators that take turns: one
with a thousand settlements waiting, and one with none.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, median, milliseconds, percentile, spread
from benchmarks.http_client import post_request
from benchmarks.load import CLIENTS, Measured, Ran, StandingSeekers, run_jobs
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.purses import paying_fields, requirement_of
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator, payment_flags, play_money
from benchmarks.turns import Cycle, others_figure, take_turns, total, turn_figures
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.credit_token import credit_token, hash_credit_token
from compute_router.protocol.ledger import Journal, credit_account, payer_account
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import CREDIT_HEADER, Credit, Entry
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.sqlite_store import open_sqlite_store

WAITING: Final = 1_000
NONE_WAITS: Final = "a credit while no settlement waits"
MANY_WAIT: Final = f"a credit while {WAITING:,} settlements wait"
LEAST: Final = 0.95
_CHAIN: Final = Chain.SOLANA
_WORKERS: Final = 50
_FIRST: Final = Seconds(0.7)
_WARM_UP: Final = Seconds(0.06)
_CREDIT: Final = MicroUsd(1_000_000_000)
_HALF_A_SECOND: Final = Seconds(0.5)


class _Coordinator:
    """A coordinator, its workers, and seekers with credits."""

    def __init__(self, server: Server, pool: WorkerPool, seekers: StandingSeekers) -> None:
        self.server = server
        self.pool = pool
        self._seekers = seekers

    async def credits(self, length: Seconds, warm_up: Seconds = _WARM_UP) -> Measured:
        """A window of jobs that are paid by credit."""
        return await self.pool.guard(self._seekers.load(warm_up, length))


async def settlements(scale: Scale) -> list[Figure]:
    """Measure all rounds, each with new processes."""
    patience = Patience(scale.extra_windows)
    cycles: list[Cycle] = []
    drained: list[float] = []
    beside: list[Seconds] = []
    for _ in range(scale.settlement_rounds):
        async with AsyncExitStack() as stack:
            money = await stack.enter_async_context(play_money(_CHAIN))
            quiet, busy = await start_coordinator(stack, money), await start_coordinator(stack, money)
            running = await pile_up(busy, money)
            turns = {
                NONE_WAITS: partial(quiet.credits, scale.turn),
                MANY_WAIT: partial(busy.credits, scale.turn),
            }
            cycles += await take_turns(turns, scale.settlement_pairs, patience)
            drained.append(WAITING / await drain(running, money))
            running = await pile_up(busy, money)
            draining = asyncio.create_task(drain(running, money))
            meanwhile = await busy.credits(_HALF_A_SECOND, Seconds(0.0))
            await draining
            beside += meanwhile.latencies
    return [
        *turn_figures(cycles, [NONE_WAITS, MANY_WAIT], {MANY_WAIT: LEAST}),
        Figure(
            f"{WAITING:,} settlements that waited drain",
            f"{median(drained):,.0f} settlements/s ({spread(drained)})",
        ),
        _meanwhile(beside, total(cycles, NONE_WAITS).latencies),
        others_figure(cycles),
    ]


def _meanwhile(latencies: list[Seconds], usual: list[Seconds]) -> Figure:
    latency = percentile(latencies, 99)
    return Figure(
        f"jobs with a credit from the moment when {WAITING:,} settlements begin to drain, p99",
        milliseconds(latency),
        f"{latency / percentile(usual, 99):.2f} x with {NONE_WAITS}",
    )


async def start_coordinator(stack: AsyncExitStack, money: Server) -> _Coordinator:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compute-router-benchmark-")))
    database = directory / "credits.db"
    tokens = _make_credits(database)
    server = await stack.enter_async_context(coordinator(*payment_flags(_CHAIN, money), database=database))
    pool = WorkerPool(server.port)
    await pool.connect(_WORKERS)
    stack.push_async_callback(pool.close)
    seekers = StandingSeekers(server, (money,))
    await seekers.connect(pays=[partial(_credit_field, token) for token in tokens])
    stack.callback(seekers.close)
    ready = _Coordinator(server, pool, seekers)
    await ready.credits(_FIRST)
    return ready


async def pile_up(busy: _Coordinator, money: Server) -> asyncio.Task[Ran]:
    """Have many jobs done that are paid for by nobody yet; the task waits for their results."""
    await _tell(money, "/hold")
    pays = paying_fields(_CHAIN, await requirement_of(busy.server), WAITING)
    done = busy.pool.log.accepted.count + WAITING
    running = asyncio.create_task(busy.pool.guard(run_jobs(busy.server, seekers=WAITING, each=1, pays=pays)))
    await busy.pool.guard(busy.pool.log.accepted.reach(done))
    return running


async def drain(running: asyncio.Task[Ran], money: Server) -> Seconds:
    """How long it takes from the facilitator's first answer until all results are handed out."""
    started = time.perf_counter()
    await _tell(money, "/release")
    ran = await running
    ran.log.raise_failures()
    return Seconds(ran.log.ended_at - started)


async def _tell(money: Server, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", money.port)
    writer.write(post_request(path, b"{}"))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


def _credit_field(token: str) -> bytes:
    return f"{CREDIT_HEADER}: {token}\r\n".encode()


def _make_credits(database: Path) -> list[str]:
    """A new database with a large credit for each seeker; returns their tokens."""
    store, now = open_sqlite_store(database), UnixMs(time.time_ns() // 1_000_000)
    tokens = [credit_token(bytes(32), f"credit-{index}") for index in range(CLIENTS)]
    with store.transaction():
        for index, token in enumerate(tokens):
            payer, payment_id = f"payer-{index}", f"credit-{index}"
            store.put_credit(
                Credit(
                    token_hash=hash_credit_token(token),
                    payer=payer,
                    payment_id=payment_id,
                    amount_left=_CREDIT,
                ),
                now,
            )
            entries = (
                Entry(payer_account(payer), MicroUsd(-_CREDIT)),
                Entry(credit_account(payer), _CREDIT),
            )
            store.post(Journal(f"credit:{payment_id}", entries), now)
    store.close()
    return tokens
