"""JSON-RPC 2.0 over HTTP to a chain's node, without blocking the loop."""

from __future__ import annotations

import itertools
from typing import Any, Final

import msgspec

from compute_router.protocol.errors import UnavailableError
from compute_router.transport.payments.peer import NoAnswerError, Peer, TooSlowError

_LARGEST_ANSWER: Final = 8 * 1024 * 1024
_CONNECTIONS: Final = 32
_UNKNOWN_METHOD: Final = -32601


class ChainUnreadableError(UnavailableError):
    """The chain's node does not answer, or answers what nobody can use. Nothing is known."""

    code = "chain_unreadable"


class NodeError(ChainUnreadableError):
    """The node answered that it cannot do this. ``rpc_code`` and ``said`` are its own."""

    def __init__(self, method: str, rpc_code: int, said: str) -> None:
        super().__init__(
            f"The chain's node does not know {method}: it may be one of another chain; see --rpc-url."
            if rpc_code == _UNKNOWN_METHOD
            else f"The chain's node answered {method} with error {rpc_code}."
        )
        self.rpc_code = rpc_code
        self.said = said


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct, frozen=True):
    result: Any = None
    error: _Error | None = None


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


class JsonRpc:
    """One node. Its URL may hold an API key, so no error names it."""

    def __init__(self, url: str, seconds: float = 5.0) -> None:
        """``seconds`` is how long one answer may take."""
        self._url = url
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self._peer = Peer(connections=_CONNECTIONS, largest_answer=_LARGEST_ANSWER)

    async def call(self, method: str, *params: Any) -> Any:
        """The result of a method.

        Raises:
            NodeError: the node says that there is none.
            ChainUnreadableError: there is no answer in time, or none that can be read.
        """
        asked = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        try:
            # Some nodes send errors of JSON-RPC with another status; a body that is none is nonsense anyway.
            _, body = await self._peer.ask("POST", self._url, msgspec.json.encode(asked), self._seconds)
            answer = _ANSWERS.decode(body)
        except TooSlowError:
            raise ChainUnreadableError(f"The chain's node gave no answer to {method} in time.") from None
        except NoAnswerError as error:
            raise ChainUnreadableError(f"The chain's node cannot be asked for {method} ({error}).") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ChainUnreadableError(f"The chain's node answered {method} with nonsense.") from None
        if answer.error is not None:
            raise NodeError(method, answer.error.code, answer.error.message)
        return answer.result

    async def close(self) -> None:
        """Give up the connections."""
        await self._peer.close()
