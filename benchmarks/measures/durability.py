"""What it costs that nothing is lost, and how long faults and restarts are felt."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.drain import drain
from benchmarks.measures.lease_cost import lease_cost
from benchmarks.measures.reconnect import reconnect
from benchmarks.measures.recovery import recovery
from benchmarks.scale import Scale


async def durability(scale: Scale) -> list[Figure]:
    """Measure one after the other."""
    return [figure for measure in (lease_cost, recovery, drain, reconnect) for figure in await measure(scale)]
