"""How much is measured: the full run that results are quoted from, and a quick one for a first look."""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.load_log import Seconds


class Scale(msgspec.Struct, frozen=True):
    """Sizes and lengths of a run.

    ``extra_windows`` is how many disturbed windows each measure may repeat. ``turn`` is the length of the
    windows of variants that take turns, and pairs are how often these go there and back.
    """

    rounds: int
    extra_windows: int
    pools: tuple[int, ...]
    warm_up: Seconds
    window: Seconds
    baseline_window: Seconds
    lone_jobs: int
    saturation_rounds: int
    memory_workers: int
    turn: Seconds
    cost_pairs: int
    proof_pairs: int
    flag_rounds: int
    flag_pairs: int
    cost_holders: int
    recovery_starts: int
    recovered_jobs: int
    drains: int
    reconnect_rounds: int
    reconnect_jobs_each: int
    paid_rounds: int
    paid_pairs: int
    paid_turn: Seconds
    offers_window: Seconds
    settlement_rounds: int
    settlement_pairs: int
    facilitated: int


FULL: Final = Scale(
    rounds=4,
    extra_windows=16,
    pools=(50, 1_000, 10_000),
    warm_up=Seconds(2.0),
    window=Seconds(5.0),
    baseline_window=Seconds(4.0),
    lone_jobs=1_000,
    saturation_rounds=3,
    memory_workers=10_000,
    turn=Seconds(0.25),
    cost_pairs=24,
    proof_pairs=11,
    flag_rounds=4,
    flag_pairs=4,
    cost_holders=1_000,
    recovery_starts=3,
    recovered_jobs=100_000,
    drains=5,
    reconnect_rounds=3,
    reconnect_jobs_each=50,
    paid_rounds=3,
    paid_pairs=5,
    paid_turn=Seconds(0.5),
    offers_window=Seconds(2.0),
    settlement_rounds=3,
    settlement_pairs=6,
    facilitated=200,
)
QUICK: Final = Scale(
    rounds=1,
    extra_windows=2,
    pools=(50, 1_000),
    warm_up=Seconds(1.0),
    window=Seconds(3.0),
    baseline_window=Seconds(2.0),
    lone_jobs=200,
    saturation_rounds=1,
    memory_workers=1_000,
    turn=Seconds(0.25),
    cost_pairs=6,
    proof_pairs=4,
    flag_rounds=1,
    flag_pairs=4,
    cost_holders=200,
    recovery_starts=1,
    recovered_jobs=20_000,
    drains=1,
    reconnect_rounds=1,
    reconnect_jobs_each=20,
    paid_rounds=1,
    paid_pairs=3,
    paid_turn=Seconds(0.5),
    offers_window=Seconds(1.0),
    settlement_rounds=1,
    settlement_pairs=4,
    facilitated=50,
)
