"""Asking a node of a chain by JSON-RPC 2.0. Its URL may hold an API key, so no error here names it."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final

import httpx

from compute_router.sdk.http import usable_environment
from compute_router.sdk.settings import is_loopback

_LONGEST_ANSWER: Final = 1024 * 1024

_asking: ContextVar[bool] = ContextVar("asking a node", default=False)


def why_not_asked(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """What is wrong with a node, in words that hold neither its URL nor names of classes."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return "has no usable URL"
    return "does not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"


class _NoUrls(logging.Filter):
    """httpx logs the URL of every request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


logging.getLogger("httpx").addFilter(_NoUrls())


class ChainNode:
    """One node. ``timeout_s`` is for each answer. Threads may share it: it keeps no connection.

    Raises:
        httpx.InvalidURL: this is no URL.
    """

    def __init__(self, url: str, timeout_s: float, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._options: dict[str, Any] = {
            "transport": transport,
            "timeout": timeout_s,
            "trust_env": not is_loopback(url),
        }

    def ask(self, method: str, *params: Any) -> bytes:
        """The body of the answer, whatever it says.

        Raises:
            httpx.HTTPError: there is none.
            InvalidArgumentError: the environment names a proxy or certificates that cannot be used.
            ValueError: it is too long.
        """
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        whole = bytearray()
        before = _asking.set(True)
        try:
            with usable_environment():
                new = httpx.Client(**self._options)
            with new as client, client.stream("POST", self._url, json=question) as response:
                for piece in response.iter_bytes():
                    whole += piece
                    if len(whole) > _LONGEST_ANSWER:
                        raise ValueError("the answer is too long")
        finally:
            _asking.reset(before)
        return bytes(whole)
