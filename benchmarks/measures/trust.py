"""What it costs to know who worked: proofs, longer receipts, countersigning, audits and API keys."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.crypto_cost import crypto_cost
from benchmarks.measures.flag_cost import flag_cost
from benchmarks.measures.proof_cost import proof_cost
from benchmarks.scale import Scale


async def trust(scale: Scale) -> list[Figure]:
    """Measure one after the other."""
    return [*await proof_cost(scale), *await flag_cost(scale), *crypto_cost()]
