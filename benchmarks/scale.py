"""How much is measured: the full run that results are quoted from, and a quick one for a first look."""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.load_log import Seconds


class Scale(msgspec.Struct, frozen=True):
    """Sizes and lengths of a run."""

    rounds: int
    pools: tuple[int, ...]
    warm_up: Seconds
    window: Seconds
    baseline_window: Seconds
    lone_jobs: int
    saturation_rounds: int
    memory_workers: int


FULL: Final = Scale(
    rounds=4,
    pools=(50, 1_000, 10_000),
    warm_up=Seconds(2.0),
    window=Seconds(5.0),
    baseline_window=Seconds(4.0),
    lone_jobs=1_000,
    saturation_rounds=3,
    memory_workers=10_000,
)
QUICK: Final = Scale(
    rounds=1,
    pools=(50, 1_000),
    warm_up=Seconds(1.0),
    window=Seconds(3.0),
    baseline_window=Seconds(2.0),
    lone_jobs=200,
    saturation_rounds=1,
    memory_workers=1_000,
)
