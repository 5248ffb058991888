"""Asks a server over HTTP, on connections that stay open.

Every paid job asks the facilitator and the chain's node a few times, so what one question costs the
coordinator decides what payments cost. aiohttp parses answers in C.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import certifi

from compute_router.protocol.errors import UnavailableError

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
_JSON_HEADERS: Final = {"Content-Type": "application/json"}
_IDLE_SECONDS: Final = 4.0
"""Servers close idle connections, commonly after five seconds; a question that meets this gets no answer."""

# Time is kept by whoever asks; a timer of its own for each question would only cost.
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)


class NoAnswerError(UnavailableError):
    """Nothing came back that is of use. The sentence does not name the server."""

    code = "no_answer"


class TooSlowError(NoAnswerError):
    """Nothing came back in time."""

    code = "too_slow"


def why_no_answer(error: Exception) -> str:
    """Why there is no answer, in words for an operator; texts of errors may hold the URL."""
    # The special ones first: a name that is not known is a failed connection, too.
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "no secure connection"
        case aiohttp.ClientConnectorError():
            return "no connection"
        case aiohttp.ClientConnectionError() | OSError():
            return "the connection ended without an answer"
        case _:
            return "no answer of HTTP"


class Peer:
    """A server whose URL may hold an API key: no error names it.

    Redirects are not followed, the environment's proxies are not used, and no cookies are kept.
    """

    def __init__(
        self, *, connections: int, largest_answer: int, headers: Mapping[str, str] | None = None
    ) -> None:
        """``connections`` may be open at once; ``largest_answer`` is in bytes; ``headers`` go with every
        question.
        """
        self._connections = connections
        self._largest = largest_answer
        self._headers = _HEADERS | dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        """The status and the body of an answer. A question is sent once, or not at all.

        Raises:
            TooSlowError: there is no whole answer after so many seconds.
            NoAnswerError: the connection fails, or the answer is none of HTTP or too long.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(method, url, body)
        except TimeoutError:
            raise TooSlowError(f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswerError(why_no_answer(error)) from None

    async def close(self) -> None:
        """Give up the connections. Nothing can be asked any more."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        if self._session is None:
            self._session = self._open()
        async with self._session.request(
            method, url, data=body, headers=_JSON_HEADERS if body else None, allow_redirects=False
        ) as response:
            whole = bytearray()
            async for piece in response.content.iter_any():
                whole += piece
                if len(whole) > self._largest:
                    raise NoAnswerError("the answer is too long")
            return response.status, bytes(whole)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            keepalive_timeout=_IDLE_SECONDS,
            ssl=ssl.create_default_context(cafile=certifi.where()),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=_NO_LIMIT,
            # Nothing compressed was asked for: an answer that is would have to be taken apart at any size.
            auto_decompress=False,
            trust_env=False,
        )
