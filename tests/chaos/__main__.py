"""``python -m tests.chaos``: runs seeds of the fault injection and prints what came of them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.journal import Violation
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.runs import LAYERS

_SEEDS_FOR_ONE: Final = {"simulation": 1, "processes": 20, "paid": 40}
# A kill of a process does not lose what a disk would; waiting for a real one only costs time.
_MEMORY: Final = Path("/dev/shm")
_FIXED_HASHES: Final = {"PYTHONHASHSEED": "0"}


class Outcome(msgspec.Struct, frozen=True):
    """What one seed was like; ``broken`` tells the story of a broken promise."""

    layer: str
    seed: int
    jobs: int = 0
    completions: int = 0
    faults: dict[str, int] = {}
    looks: dict[str, int] = {}
    deals: dict[str, int] = {}
    broken: str | None = None


def run_seed(layer: str, seed: int) -> Outcome:
    """Run one seed in a directory of its own."""
    # What goes wrong on purpose is logged by the dozen; the runs look at the log themselves.
    logging.lastResort = None
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        try:
            journal = LAYERS[layer](seed, Path(directory))
        except Violation as violation:
            return Outcome(layer, seed, broken=str(violation))
    return Outcome(
        layer,
        seed,
        journal.jobs,
        journal.completions,
        dict(journal.faults),
        dict(journal.looks),
        dict(journal.deals),
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line: seeds, faults by kind, jobs, completions, violations."""
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    layers = sorted(Counter(outcome.layer for outcome in outcomes).items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
    return (
        f"{len(outcomes)} seeds ({', '.join(f'{count} {layer}' for layer, count in layers)}), "
        f"{faults.total()} faults ({kinds}), "
        f"{sum(o.jobs for o in outcomes)} jobs, {sum(o.completions for o in outcomes)} completions, "
        f"{sum(o.broken is not None for o in outcomes)} violations"
    )


def money_table(outcomes: Sequence[Outcome]) -> str:
    """The promises about money as sentences, how often each was looked at, and what was done with money."""
    looks: Counter[str] = Counter()
    deals: Counter[str] = Counter()
    for outcome in outcomes:
        looks.update(outcome.looks)
        deals.update(outcome.deals)
    if not looks:
        return ""
    broken = [outcome.broken or "" for outcome in outcomes]
    lines = ["  looked at   broken   promise about money"]
    for promise in MoneyPromise:
        times = sum(f"{promise.value} But" in story for story in broken)
        lines.append(f"{looks[promise.name]:>11,} {times:>8}   {promise.value}")
    return "\n".join([*lines, ", ".join(f"{count:,} {kind}" for kind, count in sorted(deals.items()))])


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--layer", choices=sorted(LAYERS), help="only this layer")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds of the simulation")
    parser.add_argument(
        "--process-seeds", type=int, help="how many of the processes; default: a 20th of them"
    )
    parser.add_argument(
        "--paid-seeds", type=int, help="how many of the processes that are paid; default: a 40th of them"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds at once")
    return parser.parse_args(argv)


def _plan(given: argparse.Namespace) -> list[tuple[str, int]]:
    if given.layer:
        counts = {given.layer: given.seeds}
    else:
        counts = {layer: -(-given.seeds // share) for layer, share in _SEEDS_FOR_ONE.items()}
        for layer, wanted in (("processes", given.process_seeds), ("paid", given.paid_seeds)):
            if wanted is not None:
                counts[layer] = wanted
    layers = [given.layer] if given.layer else sorted(LAYERS)
    if given.seed is not None:
        return [(layer, given.seed) for layer in layers]
    return [(layer, given.first + number) for layer in layers for number in range(counts[layer])]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Run what was asked for; 1 if a promise was broken."""
    given = _arguments(argv)
    outcomes = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for future in as_completed([pool.submit(run_seed, *seed) for seed in _plan(given)]):
            outcomes.append(future.result())
            if outcomes[-1].broken is not None:
                _say(outcomes[-1].broken)
    table = money_table(outcomes)
    if table:
        _say(table)
    _say(summary(outcomes))
    return int(any(outcome.broken is not None for outcome in outcomes))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of text is part of a seed, and Python fixes it at its start only.
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.chaos", *sys.argv[1:]], os.environ | _FIXED_HASHES
        )
    sys.exit(main(sys.argv[1:]))
