"""Compare variants in short windows that take turns.

The machine itself is faster in one second than in the next, by more than what is looked for. Windows of a
fraction of a second meet nearly the same machine as their neighbours; every other cycle goes backwards, so
what rises or falls steadily cancels out; and of the many ratios only the middle half counts.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Final

import msgspec

from benchmarks.figures import Figure, median, spread
from benchmarks.load import QUIET_SHARE, Measured, joined
from benchmarks.patience import Patience

Turn = Callable[[], Awaitable[Measured]]
"""One window of a variant."""

Cycle = Mapping[str, Measured]
"""What one window of each variant gave, by its name; or a cycle and its reverse, joined."""

_MAX_TRIES: Final = 4


async def take_turns(turns: Mapping[str, Turn], pairs: int, patience: Patience) -> list[Cycle]:
    """Windows of all variants in this order, then in reverse, and so on; a pair of these counts as a cycle.

    A pair that something else on the machine disturbed is measured again.
    """
    return [await _quietest_pair(turns, patience) for _ in range(pairs)]


async def _quietest_pair(turns: Mapping[str, Turn], patience: Patience) -> Cycle:
    """The least disturbed of a few tries; the choice never looks at the result."""
    tries = [await _pair(turns)]
    while others_share(tries[-1]) > QUIET_SHARE and len(tries) < _MAX_TRIES and patience.spend():
        tries.append(await _pair(turns))
    return min(tries, key=others_share)


async def _pair(turns: Mapping[str, Turn]) -> Cycle:
    there = {name: await turn() for name, turn in turns.items()}
    back = {name: await turns[name]() for name in reversed(list(turns))}
    return {name: joined((there[name], back[name])) for name in turns}


def others_share(cycle: Cycle) -> float:
    """The part of all processors that something else used in a cycle."""
    return joined(cycle.values()).others_share


class Ratio(msgspec.Struct, frozen=True):
    """A ratio and its standard error, which is of the same unit."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


def rate_ratio(cycles: Sequence[Cycle], name: str, base: str) -> Ratio:
    """How a variant's exchanges a second compare to another's."""
    return typical([cycle[name].per_second / cycle[base].per_second for cycle in cycles])


def cpu_ratio(cycles: Sequence[Cycle], name: str, base: str) -> float:
    """How the server's processor time for an exchange compares; over all, because its clock is coarse."""
    return total(cycles, name).cpu_each / total(cycles, base).cpu_each


def total(cycles: Sequence[Cycle], name: str) -> Measured:
    """All windows of a variant."""
    return joined(cycle[name] for cycle in cycles)


def typical(ratios: Sequence[float]) -> Ratio:
    """The geometric mean of the middle half of some ratios; half and double weigh the same.

    The error is that of the mean of all of them, so it rather says too much than too little.

    Raises:
        ValueError: there are no ratios.
    """
    if not ratios:
        raise ValueError("no ratios, no typical one")
    logarithms = sorted(math.log(ratio) for ratio in ratios)
    outside = len(logarithms) // 4
    value = math.exp(mean(logarithms[outside : len(logarithms) - outside]))
    error = stdev(logarithms) / math.sqrt(len(logarithms)) if len(logarithms) > 1 else math.inf
    return Ratio(value, value * error)


def turn_figures(cycles: Sequence[Cycle], names: Sequence[str], targets: Mapping[str, float]) -> list[Figure]:
    """Rates of all variants, then processor times, relative to the first; targets are for ratios of rates."""
    base = names[0]
    rates, processor = [], []
    for name in names:
        seen = [cycle[name].per_second for cycle in cycles]
        ratio, target = rate_ratio(cycles, name, base), targets.get(name)
        rates.append(
            Figure(
                f"jobs with {name}",
                f"{median(seen):,.0f} jobs/s ({spread(seen)})",
                "1" if name == base else f"{ratio} x {base}",
                "" if target is None else f"at least {target} x",
                None if target is None else ratio.value >= target,
            )
        )
        processor.append(
            Figure(
                f"coordinator's processor time per job with {name}",
                f"{total(cycles, name).cpu_each * 1e6:,.0f} µs",
                "1" if name == base else f"{cpu_ratio(cycles, name, base):.3f} x {base}",
            )
        )
    return [*rates, *processor]


def others_figure(cycles: Sequence[Cycle], note: str = "") -> Figure:
    """How well the machine was left alone."""
    shares = [others_share(cycle) for cycle in cycles]
    return Figure(
        "processors taken by anything else in these windows",
        f"{median(shares):.1%} (at most {max(shares):.1%})",
        note,
        f"at most {QUIET_SHARE:.0%}, or the figures above say little",
        max(shares) <= QUIET_SHARE,
    )
