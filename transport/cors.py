"""Cross-origin access for browsers (the Fetch standard's CORS protocol); off unless origins are named."""

from __future__ import annotations

from typing import Final

from compute_router.transport.http_types import Answer, Request

_ANY: Final = "*"
_MAX_AGE_SECONDS: Final = "600"


class Cors:
    """The origins whose pages may call the API. ``*`` stands for all; credentials are never allowed."""

    def __init__(self, origins: tuple[str, ...] = ()) -> None:
        self._origins = frozenset(origins)
        self.enabled = bool(origins)

    def headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Headers that let the asking page read the answer; none if it may not."""
        origin = request.headers.get("Origin") if self.enabled else None
        if origin is None:
            return ()
        if _ANY in self._origins:
            return (("Access-Control-Allow-Origin", _ANY),)
        vary = ("Vary", "Origin")
        return (("Access-Control-Allow-Origin", origin), vary) if origin in self._origins else (vary,)

    def preflight(self, request: Request, methods: str) -> Answer:
        """Answer to a browser that asks whether it may send a request."""
        allowed = (
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", "Content-Type, Authorization, Idempotency-Key"),
            ("Access-Control-Max-Age", _MAX_AGE_SECONDS),
        )
        return Answer(200, b"{}", allowed)
