"""The simulated facilitator, node and paying seekers are taken for real by a coordinator."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from benchmarks.clients import Browser, close_all, connect_all
from benchmarks.load import run_jobs, wait_until_ended
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.measures import settlements
from benchmarks.purses import paying_fields, requirement_of
from benchmarks.servers import coordinator, payment_flags, play_money
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.networks import Chain

SEEKERS = 3
EACH = 2


def states(database: Path) -> dict[str, int]:
    """How many payments are in each state."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM payments GROUP BY state"))


@pytest.mark.parametrize("chain", list(Chain))
def test_jobs_of_paying_seekers_are_settled_and_the_chain_shows_it(chain: Chain, tmp_path: Path) -> None:
    database = tmp_path / "paid.db"

    async def scenario() -> int:
        async with (
            play_money(chain) as money,
            coordinator(*payment_flags(chain, money), database=database) as server,
        ):
            pool = WorkerPool(server.port)
            await pool.connect(1)
            pays = paying_fields(chain, await requirement_of(server), SEEKERS)
            ran = await pool.guard(run_jobs(server, SEEKERS, EACH, pays))
            await pool.close()
            ran.log.raise_failures()
            # An outcome that cannot be read, or that is not there, is a warning.
            assert "WARNING" not in server.last_lines()
        return ran.log.finished

    assert asyncio.run(scenario()) == SEEKERS * EACH
    assert states(database) == {"settled": SEEKERS * EACH}


def test_who_does_not_pay_is_told_the_price_each_time() -> None:
    async def scenario() -> int:
        chain = Chain.MONAD
        async with play_money(chain) as money, coordinator(*payment_flags(chain, money)) as server:
            log = LoadLog(1)
            clients = await connect_all(server.port, [partial(Browser, log, 3, "alice")])
            clients[0].start()
            await wait_until_ended(log)
            close_all(clients)
        log.raise_failures()
        return log.finished

    assert asyncio.run(scenario()) == 3


def test_results_wait_for_settlements_that_are_held_and_jobs_with_a_credit_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settlements, "WAITING", 5)

    async def scenario() -> tuple[bool, int]:
        async with AsyncExitStack() as stack:
            money = await stack.enter_async_context(play_money(Chain.SOLANA))
            busy = await settlements.start_coordinator(stack, money)
            running = await settlements.pile_up(busy, money)
            with_credit = await busy.credits(Seconds(0.05))
            waited = not running.done() and bool(with_credit.latencies)
            await settlements.drain(running, money)
            return waited, running.result().log.finished

    assert asyncio.run(scenario()) == (True, 5)
