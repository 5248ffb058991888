"""Nobody is asked for a payment that cannot arrive."""

from __future__ import annotations

from pathlib import Path

from compute_router.protocol.networks import Chain
from tests.transport.payments.till import both_chains, paid

LACKING = "The address has no USDC account yet."


@both_chains
async def test_while_the_address_cannot_receive_paid_jobs_are_refused_with_the_reason(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.router.system.health.report("pay_to", LACKING)
        for sent in (None, headers):
            answer = await till.post(sent)
            assert (answer.status_code, answer.json()) == (
                503,
                {"error": "payments_unavailable", "message": LACKING},
            )
        assert till.facilitator.count("/verify") == 0
        health = (await till.router.http.get("/v1/health")).json()
        assert (health["status"], health["problems"]) == ("degraded", [f"pay_to: {LACKING}"])
        till.router.system.health.report("pay_to", None)
        await till.commit(headers)
