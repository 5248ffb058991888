"""A stand-in for the coordinator's worker socket: real WebSockets, spoken by the test by hand."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from types import TracebackType
from typing import Final, TypeVar

import tornado.httpserver
import tornado.testing
import tornado.web
import tornado.websocket

from compute_router.protocol.messages import WORKER_FRAMES, Frame, encode_frame

PATIENCE_SECONDS: Final = 10.0

FrameT = TypeVar("FrameT", bound=Frame)


class WorkerConnection:
    """The coordinator's end of one socket, as a test in another thread uses it."""

    def __init__(self, handler: _Handler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self.offered_extensions = handler.request.headers.get("Sec-WebSocket-Extensions")
        self.frames: queue.SimpleQueue[str | bytes] = queue.SimpleQueue()
        self.closed = threading.Event()
        self.close_code: int | None = None

    def receive(self, frame_type: type[FrameT]) -> FrameT:
        """The next frame, which must be a well-formed one of this type."""
        frame = WORKER_FRAMES.decode(self.frames.get(timeout=PATIENCE_SECONDS))
        assert isinstance(frame, frame_type), f"expected a {frame_type.__name__}, got {frame!r}"
        return frame

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        self._loop.call_soon_threadsafe(self._handler.send_text, encode_frame(frame))

    def drop(self) -> None:
        """Cut the connection without a close frame, as a crash does."""
        self._loop.call_soon_threadsafe(self._handler.cut)

    def stall(self) -> None:
        """From the next frame on, read nothing and answer nothing, as a peer that hangs or is cut off."""
        self._loop.call_soon_threadsafe(self._handler.stall)

    def close(self) -> None:
        """Close in good order."""
        self._loop.call_soon_threadsafe(self._handler.close)

    def wait_closed(self) -> int | None:
        """Wait until the socket is closed; the worker's close code."""
        assert self.closed.wait(PATIENCE_SECONDS), "the socket stays open"
        return self.close_code


class CoordinatorSocket:
    """Use as a context manager: listens at ``url``, and hands out one connection after another."""

    def __init__(self) -> None:
        self._connections: queue.SimpleQueue[WorkerConnection] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._socket, self._port = tornado.testing.bind_unused_port()

    @property
    def url(self) -> str:
        """HTTP address of the coordinator."""
        return f"http://127.0.0.1:{self._port}"

    def accept(self) -> WorkerConnection:
        """Wait for the next worker that connects."""
        return self._connections.get(timeout=PATIENCE_SECONDS)

    def __enter__(self) -> CoordinatorSocket:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_SECONDS)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    async def _listen(self) -> None:
        application = tornado.web.Application(
            [("/", _Handler, {"connections": self._connections})], log_function=lambda _handler: None
        )
        self._server = tornado.httpserver.HTTPServer(application)
        self._server.add_socket(self._socket)

    async def _close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Handler(tornado.websocket.WebSocketHandler):
    def initialize(self, connections: queue.SimpleQueue[WorkerConnection]) -> None:
        self._connections = connections
        self._may_read = asyncio.Event()
        self._may_read.set()

    def open(self, *_args: str, **_kwargs: str) -> None:
        self._connection = WorkerConnection(self, asyncio.get_running_loop())
        self._connections.put(self._connection)

    async def on_message(self, message: str | bytes) -> None:
        # Tornado reads no further while this waits. The end of the test cancels it.
        with contextlib.suppress(asyncio.CancelledError):
            await self._may_read.wait()
        self._connection.frames.put(message)

    def on_close(self) -> None:
        self._connection.close_code = self.close_code
        self._connection.closed.set()

    def stall(self) -> None:
        self._may_read.clear()

    def send_text(self, data: bytes) -> None:
        if self.ws_connection is not None:
            self.write_message(data)

    def cut(self) -> None:
        if self.ws_connection is not None:
            # There is no public way to close a WebSocket without a close frame.
            self.ws_connection._abort()
