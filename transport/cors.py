"""Cross-origin access for browsers (the Fetch standard's CORS protocol); off unless origins are named."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.payment_offer import (
    PAYMENT_HEADER,
    PAYMENT_HEADER_V1,
    QUOTE_HEADER,
    REQUIRED_HEADER,
    RESPONSE_HEADER,
    RESPONSE_HEADER_V1,
)
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.transport.http_types import Answer, Request

_ANY: Final = "*"
_ALLOWED: Final = ", ".join(
    (
        *("Content-Type", "Authorization", "Idempotency-Key"),
        *(PAYMENT_HEADER, PAYMENT_HEADER_V1, CREDIT_HEADER, QUOTE_HEADER),
        # A header of answers, which x402's clients for TypeScript send in requests, too.
        "Access-Control-Expose-Headers",
    )
)
_EXPOSED: Final = (
    "Access-Control-Expose-Headers",
    ", ".join((REQUIRED_HEADER, RESPONSE_HEADER, RESPONSE_HEADER_V1, QUOTE_HEADER)),
)
"""Without them a page of a named origin could not read what it has to pay."""

_MAX_AGE_SECONDS: Final = "600"


class Cors:
    """The origins whose pages may call the API. ``*`` stands for all; credentials are never allowed.

    ``paid`` lets them read the headers of payments, too.
    """

    def __init__(self, origins: tuple[str, ...] = (), *, paid: bool = False) -> None:
        self._origins = frozenset(origins)
        self._exposed: tuple[tuple[str, str], ...] = (_EXPOSED,) if paid else ()
        self.enabled = bool(origins)

    def headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Headers that let the asking page read the answer; none if it may not."""
        origin = request.headers.get("Origin") if self.enabled else None
        if origin is None:
            return ()
        if _ANY in self._origins:
            return (("Access-Control-Allow-Origin", _ANY), *self._exposed)
        vary = ("Vary", "Origin")
        if origin not in self._origins:
            return (vary,)
        return (("Access-Control-Allow-Origin", origin), vary, *self._exposed)

    def preflight(self, request: Request, methods: str) -> Answer:
        """Answer to a browser that asks whether it may send a request."""
        allowed = (
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", _ALLOWED),
            ("Access-Control-Max-Age", _MAX_AGE_SECONDS),
        )
        return Answer(200, b"{}", allowed)
