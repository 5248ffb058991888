"""The load of this machine."""

from __future__ import annotations

from compute_router.worker.machine import MachineMeter


def test_loads_are_percentages() -> None:
    load = MachineMeter().read()
    assert 0 <= load.cpu_pct <= 100
    assert 0 < load.mem_pct <= 100
