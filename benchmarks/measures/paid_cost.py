"""What payments cost a job: coordinators without and with them, in windows that take turns.

Facilitator and node are one process on loopback that says yes to everything at once. So what is left is
what the coordinator itself does: it offers, reads, verifies, reserves, settles, reads the chain, releases and
keeps the books.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from benchmarks.figures import Figure, median, spread
from benchmarks.load import CLIENTS, Measured, StandingSeekers, load_offers
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.purses import paying_fields, requirement_of
from benchmarks.scale import Scale
from benchmarks.servers import coordinator, payment_flags, play_money
from benchmarks.turns import Cycle, Turn, others_figure, take_turns, total, turn_figures
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.networks import Chain

OFF: Final = "payments off"
ON: Final = {Chain.MONAD: "payments on Monad", Chain.SOLANA: "payments on Solana"}
MOST_ADDED: Final = Seconds(0.003)
_WORKERS: Final = 50
_FIRST: Final = Seconds(0.7)
_WARM_UP: Final = Seconds(0.1)


class _Round:
    """What a round gave: cycles of jobs, and a window of bare offers for each chain."""

    def __init__(self) -> None:
        self.cycles: list[Cycle] = []
        self.offers: dict[Chain, Measured] = {}


async def paid_cost(scale: Scale) -> list[Figure]:
    """Measure all rounds, each with new processes."""
    patience = Patience(scale.extra_windows)
    rounds = [await _round(scale, patience) for _ in range(scale.paid_rounds)]
    cycles = [cycle for each in rounds for cycle in each.cycles]
    return [
        *turn_figures(cycles, [OFF, *ON.values()], {}),
        *(_added(cycles, chain) for chain in ON),
        *(_offers(chain, [each.offers[chain] for each in rounds]) for chain in ON),
        others_figure(cycles),
    ]


def _added(cycles: list[Cycle], chain: Chain) -> Figure:
    free, paid = total(cycles, OFF).cpu_each, total(cycles, ON[chain]).cpu_each
    return Figure(
        f"coordinator's processor time that {ON[chain]} add to a job",
        f"{(paid - free) * 1e6:,.0f} µs",
        f"{(paid - free) / free:.2f} x a job with {OFF}",
        f"under {MOST_ADDED * 1e3:.0f} ms",
        paid - free < MOST_ADDED,
    )


def _offers(chain: Chain, windows: list[Measured]) -> Figure:
    seen = [window.per_second for window in windows]
    each = median([window.cpu_each for window in windows])
    return Figure(
        f"commits without a payment, answered 402, with {ON[chain]}",
        f"{median(seen):,.0f}/s ({spread(seen)}), {each * 1e6:,.0f} µs each",
    )


async def _round(scale: Scale, patience: Patience) -> _Round:
    done = _Round()
    async with AsyncExitStack() as stack:
        monies = {chain: await stack.enter_async_context(play_money(chain)) for chain in ON}

        async def ready(chain: Chain | None) -> Turn:
            flags = () if chain is None else payment_flags(chain, monies[chain])
            server = await stack.enter_async_context(coordinator(*flags))
            pool = WorkerPool(server.port)
            await pool.connect(_WORKERS)
            stack.push_async_callback(pool.close)
            seekers = StandingSeekers(server, () if chain is None else (monies[chain],))
            if chain is None:
                await seekers.connect()
            else:
                done.offers[chain] = await load_offers(server, _FIRST, scale.offers_window, patience)
                await seekers.connect(pays=paying_fields(chain, await requirement_of(server), CLIENTS))
            stack.callback(seekers.close)

            async def turn(length: Seconds) -> Measured:
                return await pool.guard(seekers.load(_WARM_UP, length))

            await turn(_FIRST)
            return partial(turn, scale.paid_turn)

        turns = {OFF: await ready(None), **{ON[chain]: await ready(chain) for chain in ON}}
        done.cycles = await take_turns(turns, scale.paid_pairs, patience)
    return done
