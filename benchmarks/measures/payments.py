"""What payments cost, how fast settlements go, and what a facilitator of our own can do."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.facilitator_rate import facilitator_rate
from benchmarks.measures.paid_cost import paid_cost
from benchmarks.measures.settlements import settlements
from benchmarks.scale import Scale


async def payments(scale: Scale) -> list[Figure]:
    """Measure one after the other."""
    return [*await paid_cost(scale), *await settlements(scale), *await facilitator_rate(scale)]
