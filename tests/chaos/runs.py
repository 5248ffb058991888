"""Runs one seed of either layer, and tells how to repeat it if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.errors_logged import unexplained_errors
from tests.chaos.journal import Journal, Violation
from tests.chaos.processes import ProcessRun
from tests.chaos.simulation import Simulation
from tests.chaos.virtual_time import run

Run = Callable[[int, Path], Journal]


def simulation(seed: int, directory: Path) -> Journal:
    """One seed in simulated time.

    Raises:
        Violation: a promise was broken.
    """
    world = Simulation(seed, directory)
    try:
        with unexplained_errors() as errors:
            run(world.run(), world.clock)
        world.journal.promise(not errors, f"errors were logged: {errors}")
    except Exception as error:
        raise _told(world.journal, "simulation", error) from error
    return world.journal


def processes(seed: int, directory: Path) -> Journal:
    """One seed with real processes.

    Raises:
        Violation: a promise was broken.
    """
    return _live("processes", ProcessRun, seed, directory)


def paid_processes(seed: int, directory: Path) -> Journal:
    """One seed with real processes that are paid on a local chain.

    Raises:
        Violation: a promise was broken.
    """
    # Its chains cost imports that the other layers do without.
    from tests.chaos.paid_processes import PaidRun

    return _live("paid", PaidRun, seed, directory)


def _live(layer: str, kind: type[ProcessRun], seed: int, directory: Path) -> Journal:
    async def live() -> Journal:
        world = kind(seed, directory)
        try:
            await world.run()
        except Exception as error:
            raise _told(world.journal, layer, error) from error
        return world.journal

    return asyncio.run(live())


LAYERS: Final[dict[str, Run]] = {
    "simulation": simulation,
    "processes": processes,
    "paid": paid_processes,
}


def _told(journal: Journal, layer: str, error: Exception) -> Violation:
    cause = journal.broken or error
    return Violation(f"{type(cause).__name__}: {cause}\n{journal.story(layer)}")
