"""Pages of named origins can pay: they may send payments and read what is asked for."""

from __future__ import annotations

from pathlib import Path

from compute_router.protocol.networks import Chain
from tests.transport.payments.till import paid

PAGE = {"Origin": "https://app.example"}


async def test_a_page_may_read_what_it_has_to_pay_and_send_a_payment(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD, cors_origins=(PAGE["Origin"],)) as till:
        answer = await till.post(PAGE)
        assert "PAYMENT-REQUIRED" in answer.headers["access-control-expose-headers"]
        asked = PAGE | {"Access-Control-Request-Method": "POST"}
        preflight = await till.router.http.options("/v1/jobs/commit/fast", headers=asked)
        for name in ("PAYMENT-SIGNATURE", "X-PAYMENT", "Payment-Credit", "Payment-Quote"):
            assert name in preflight.headers["access-control-allow-headers"]
