"""JSON-RPC 2.0 over HTTP to a chain's node, without blocking the loop."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final

import httpx
import msgspec

from compute_router.protocol.errors import UnavailableError

_LARGEST_ANSWER: Final = 8 * 1024 * 1024
_CONNECTIONS: Final = 32


class ChainUnreadableError(UnavailableError):
    """The chain's node does not answer, or answers what nobody can use. Nothing is known."""

    code = "chain_unreadable"


class NodeError(ChainUnreadableError):
    """The node answered that it cannot do this. ``rpc_code`` and ``said`` are its own."""

    def __init__(self, method: str, rpc_code: int, said: str) -> None:
        super().__init__(f"The chain's node answered {method} with error {rpc_code}.")
        self.rpc_code = rpc_code
        self.said = said


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct, frozen=True):
    result: Any = None
    error: _Error | None = None


class JsonRpc:
    """One node. Its URL may hold an API key, so no error names it."""

    def __init__(self, url: str, seconds: float = 5.0) -> None:
        """``seconds`` is how long one answer may take."""
        self._url = url
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        )

    async def call(self, method: str, *params: Any) -> Any:
        """The result of a method.

        Raises:
            NodeError: the node says that there is none.
            ChainUnreadableError: there is no answer in time, or none that can be read.
        """
        asked = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        try:
            answer = msgspec.json.decode(await self._post(msgspec.json.encode(asked)), type=_Answer)
        except (TimeoutError, httpx.TimeoutException):
            raise ChainUnreadableError(f"The chain's node gave no answer to {method} in time.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ChainUnreadableError(
                f"The chain's node cannot be asked for {method} ({type(error).__name__})."
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ChainUnreadableError(f"The chain's node answered {method} with nonsense.") from None
        if answer.error is not None:
            raise NodeError(method, answer.error.code, answer.error.message)
        return answer.result

    async def close(self) -> None:
        """Give up the connections."""
        await self._client.aclose()

    async def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with (
            asyncio.timeout(self._seconds),
            self._client.stream(
                "POST", self._url, content=body, headers=headers, timeout=self._seconds
            ) as response,
        ):
            whole = bytearray()
            async for piece in response.aiter_bytes():
                whole += piece
                if len(whole) > _LARGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too long")
            # Some nodes send errors of JSON-RPC with another status; a body that is none is nonsense anyway.
            return bytes(whole)
