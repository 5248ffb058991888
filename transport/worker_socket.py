"""The WebSocket at ``/`` that workers hold (RFC 6455): frames to messages, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import msgspec
import pykka
from tornado.iostream import StreamBufferFullError, StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from compute_router.actors.messages.worker_registry import FrameArrived, SocketClosed, SocketOpened
from compute_router.actors.runtime import is_behind, until_caught_up
from compute_router.protocol.errors import RequestError
from compute_router.protocol.http_api import ErrorAnswer
from compute_router.protocol.messages import (
    WORKER_FRAME_TYPES,
    WORKER_FRAMES,
    ErrorFrame,
    Register,
    encode_frame,
)
from compute_router.transport.complaints import complaint
from compute_router.transport.limits import AddressGuard
from compute_router.transport.security_headers import SECURITY_HEADERS, SERVER
from compute_router.transport.socket_origins import SocketOrigins

logger = logging.getLogger(__name__)

_POLICY_VIOLATION: Final = 1008
_UNREAD_FRAMES: Final = 4
_MOST_WAITING: Final = 1000
_worker_ids: Final = count(1)


class WorkerSocket(WebSocketHandler):
    """One worker's connection. A frame that cannot be read is answered with an error and changes nothing."""

    worker_id: int
    _registry: pykka.ActorRef[Any]
    _guard: AddressGuard
    _max_frame_bytes: int
    _origins: SocketOrigins

    def initialize(
        self,
        registry: pykka.ActorRef[Any],
        guard: AddressGuard,
        max_frame_bytes: int,
        origins: SocketOrigins,
    ) -> None:
        self._origins = origins
        self._registry = registry
        self._guard = guard
        self._max_frame_bytes = max_frame_bytes
        self._address = str(self.request.remote_ip)
        self._is_open = False
        self.worker_id = next(_worker_ids)

    def set_default_headers(self) -> None:
        self.set_header("Server", SERVER)
        for name, value in SECURITY_HEADERS:
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse web pages that were not let in; Tornado's own rule would let in those of its own address."""
        headers = self.request.headers
        if not self._origins.allow(headers.get("Origin"), headers.get("Host")):
            self.set_status(403)
            self.finish("Pages of this origin may not connect unless --ws-origins names it")

    def check_origin(self, origin: str) -> bool:
        """Decided in :meth:`prepare`."""
        return True

    def get_compression_options(self) -> None:
        """Declines permessage-deflate: its buffers would cost more memory than all else of a worker."""
        return

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Tornado refuses handshakes with a line of text; errors here are JSON."""
        if not isinstance(chunk, str):
            return super().finish(chunk)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        code = "forbidden_origin" if self.get_status() == HTTPStatus.FORBIDDEN else RequestError.code
        return super().finish(msgspec.json.encode(ErrorAnswer(code, f"{chunk.rstrip('.')}.")))

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        self._guard.upgraded(self._address)
        self._is_open = True
        self._bound_unread(slots=0)
        self._registry.tell(SocketOpened(self))

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """A worker is not read from while the registry is behind: the network then holds it back."""
        self._take(message)
        return (
            until_caught_up(self._registry, _MOST_WAITING)
            if is_behind(self._registry, _MOST_WAITING)
            else None
        )

    def _take(self, message: str | bytes) -> None:
        if self.ws_connection is None or self.ws_connection.is_closing():
            return
        if not self._guard.may_send(self._address):
            self.close(_POLICY_VIOLATION, "too many frames")
            return
        try:
            # A binary frame need not be UTF-8, and the raw parts of a frame are passed on unread.
            text = message.decode("utf-8") if isinstance(message, bytes) else message
            frame = WORKER_FRAMES.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.send(encode_frame(_refusal(message, error)))
            return
        if isinstance(frame, Register):
            self._bound_unread(frame.slots)
        if self._registry.is_alive():
            self._registry.tell(FrameArrived(self.worker_id, frame))

    def _bound_unread(self, slots: int) -> None:
        """A worker may be sent a job for each slot at once, and some frames more, before it has read any."""
        if isinstance(self.ws_connection, WebSocketProtocol13):
            self.ws_connection.stream.max_write_buffer_size = (_UNREAD_FRAMES + slots) * self._max_frame_bytes

    def on_close(self) -> None:
        if self._is_open:
            self._guard.closed(self._address)
        if self._registry.is_alive():
            self._registry.tell(SocketClosed(self.worker_id))

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection, if need be without a word: the worker may not read what it is sent."""
        try:
            super().close(code, reason)
        except StreamBufferFullError:
            self._drop()

    def _drop(self) -> None:
        assert isinstance(self.ws_connection, WebSocketProtocol13)
        self.ws_connection.stream.close()

    def send(self, frame_json: bytes) -> None:
        """Send one text frame; what the worker no longer reads is dropped with its connection.

        Tornado's own ``write_message`` starts a task for each frame, only to rename an exception.
        """
        connection = self.ws_connection
        if connection is None or connection.is_closing():
            return
        assert isinstance(connection, WebSocketProtocol13)
        try:
            connection.stream.write(text_frame(frame_json))
        except StreamClosedError:
            logger.debug("worker connection %d closed before a frame was sent", self.worker_id)
        except StreamBufferFullError:
            logger.warning(
                "worker connection %d does not read what it is sent and is dropped", self.worker_id
            )
            self._drop()


def text_frame(payload: bytes) -> bytes:
    """An unfragmented, unmasked text frame, as a server sends it (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


class _AnyFrame(msgspec.Struct):
    type: str


_ANY_FRAMES: Final = msgspec.json.Decoder(_AnyFrame)


def _refusal(message: str | bytes, error: Exception) -> ErrorFrame:
    """Say what is wrong with a frame: no JSON object with a type, an unknown type, or a bad field."""
    if isinstance(error, RecursionError):
        return ErrorFrame("PARSE_ERROR", "The frame is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return ErrorFrame("PARSE_ERROR", "The frame is not valid UTF-8.")
    try:
        frame_type = _ANY_FRAMES.decode(message).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ErrorFrame("PARSE_ERROR", "A frame must be a JSON object with a type.")
    if frame_type not in WORKER_FRAME_TYPES:
        return ErrorFrame("UNKNOWN_MSG", "The coordinator does not know this type of frame.")
    return ErrorFrame("INVALID_MSG", complaint(error))
