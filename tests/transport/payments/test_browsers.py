"""Pages of named origins can pay: they may send payments and read what is asked for."""

from __future__ import annotations

from pathlib import Path

from compute_router.protocol.networks import Chain
from tests.transport.payments.till import paid

PAGE = {"Origin": "https://app.example"}


async def test_a_page_may_read_what_it_has_to_pay_and_send_a_payment(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD, cors_origins=(PAGE["Origin"],)) as till:
        answer = await till.post(PAGE)
        readable = answer.headers["access-control-expose-headers"].split(", ")
        assert readable == ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE", "Payment-Quote"]
        asked = PAGE | {"Access-Control-Request-Method": "POST"}
        preflight = await till.router.http.options("/v1/jobs/commit/fast", headers=asked)
        for name in ("PAYMENT-SIGNATURE", "X-PAYMENT", "Payment-Credit", "Payment-Quote"):
            assert name in preflight.headers["access-control-allow-headers"]


async def test_a_page_may_send_what_the_clients_of_x402_send(tmp_path: Path) -> None:
    """``@x402/fetch`` and ``x402-fetch`` put a header of answers into the request that pays."""
    async with paid(tmp_path, Chain.MONAD, cors_origins=(PAGE["Origin"],)) as till:
        sent = "access-control-expose-headers, content-type, payment-signature"
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": sent}
        preflight = await till.router.http.options("/v1/jobs/commit/cheap", headers=PAGE | asked)
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert set(sent.split(", ")) <= set(allowed)
