"""Headers of every answer, so that no browser or cache makes more of it than JSON for one reader."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tornado.httputil import HTTPHeaders

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    # For requests that CORS knows nothing of, such as <img>; a page that CORS lets in reads all the same.
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

SERVER: Final = "compute-router"
"""The ``Server`` of a WebSocket handshake; answers of the API do without."""


class AnswerHeaders(HTTPHeaders):
    """Headers of one answer. Those that never change are added as it is written, which is cheapest."""

    def get_all(self) -> Iterable[tuple[str, str]]:
        return (*super().get_all(), *SECURITY_HEADERS)
