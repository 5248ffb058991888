"""The WebSocket to the coordinator, which lives on the loop thread and tells what happens to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import msgspec
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from compute_router.protocol.units import DurationMs
from compute_router.worker.loop_thread import LoopThread
from compute_router.worker.result_frames import MAX_FRAME_BYTES
from compute_router.worker.session_events import GOING_AWAY, Connected, Disconnected, Event, FrameReceived

_PING_SECONDS: Final = 10.0
_PONG_SECONDS: Final = 8.0
_CLOSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class LinkBroken(msgspec.Struct, frozen=True):
    """The link failed in a way that is a defect of this program; there is no going on."""

    error: BaseException


class SocketLink:
    """One socket at a time. Every :meth:`connect` ends in exactly one :class:`Disconnected`."""

    def __init__(
        self,
        loop: LoopThread,
        url: str,
        connect_wait: DurationMs,
        tell: Callable[[Event | LinkBroken], None],
    ) -> None:
        self._loop = loop
        self._url = url
        self._connect_seconds = connect_wait / 1000
        self._tell = tell
        self._socket: WebSocketClientConnection | None = None
        self._closed = asyncio.Event()

    def connect(self) -> None:
        """Open the socket; ends of earlier ones must have been told."""
        self._loop.submit(self._converse()).add_done_callback(self._report_defect)

    def send(self, frame: bytes) -> None:
        """Send a text frame. Lost if the socket closes first: then :class:`Disconnected` is told."""
        self._loop.submit(self._write(frame)).add_done_callback(self._report_defect)

    def close(self, code: int, reason: str) -> None:
        """Begin to close the socket, after the frames that were sent before."""
        self._loop.submit(self._close(code, reason)).add_done_callback(self._report_defect)

    def shut_down(self) -> None:
        """Close the socket if it is open, and wait for its end: a short time, if it must be."""
        self._loop.submit(self._close(GOING_AWAY, "the worker stops")).result(3 * _CLOSE_SECONDS)

    async def _converse(self) -> None:
        try:
            self._socket = await websocket_connect(
                HTTPRequest(
                    self._url, connect_timeout=self._connect_seconds, request_timeout=self._connect_seconds
                ),
                compression_options=None,
                ping_interval=_PING_SECONDS,
                ping_timeout=_PONG_SECONDS,
                max_message_size=MAX_FRAME_BYTES,
            )
        except (OSError, HTTPClientError, WebSocketError) as error:
            self._tell(Disconnected(f"cannot be reached ({error})"))
            return
        self._closed.clear()
        self._tell(Connected())
        socket = self._socket
        try:
            while (frame := await socket.read_message()) is not None:
                if isinstance(frame, str):
                    self._tell(FrameReceived(frame))
                else:
                    _log.warning("The coordinator sent a binary frame; only text is understood.")
        finally:
            self._socket = None
            self._closed.set()
            socket.close()
        self._tell(Disconnected(_why_closed(socket), socket.close_code, socket.close_reason or ""))

    async def _write(self, frame: bytes) -> None:
        if self._socket is None:
            return
        try:
            await self._socket.write_message(frame)
        except (WebSocketClosedError, StreamClosedError):
            _log.debug("A frame was lost because the socket closed.")

    async def _close(self, code: int, reason: str) -> None:
        if self._socket is None:
            return
        # The client lets go of these when it begins to close.
        protocol = self._socket.protocol
        stream = None if protocol is None else protocol.stream
        self._socket.close(code, reason)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            _log.debug("The coordinator did not answer the close in time.")
            if stream is not None:
                stream.close()
            await self._closed.wait()

    def _report_defect(self, done: Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._tell(LinkBroken(error))


def _why_closed(socket: WebSocketClientConnection) -> str:
    if socket.close_code is None:
        return "closed the connection without a word"
    reason = f": {socket.close_reason}" if socket.close_reason else ""
    return f"closed the connection (code {socket.close_code}{reason})"
