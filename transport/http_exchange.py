"""One HTTP request and its answer, directly on Tornado's connection.

Tornado's ``RequestHandler`` takes about half of the time that a small request costs. The coordinator
needs little of what it offers, so it stands one layer lower, on the documented
``HTTPServerConnectionDelegate``; only the worker's WebSocket goes through a Tornado application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from tornado.http1connection import HTTP1ServerConnection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from compute_router.protocol.errors import (
    PayloadTooLargeError,
    RateLimitedError,
    RequestError,
    UnavailableError,
)
from compute_router.transport.answer_bytes import CONTENT_TYPE, REASONS, answer_bytes
from compute_router.transport.cors import Cors
from compute_router.transport.error_answers import answer_for
from compute_router.transport.http_types import Answer, Request, SlowReaderError, Stream
from compute_router.transport.limits import AddressGuard
from compute_router.transport.router import Router
from compute_router.transport.security_headers import AnswerHeaders

logger = logging.getLogger(__name__)

MAX_DRAINED_BYTES: Final = 1 << 30
"""A body over the limit is read and thrown away up to this size, so that its sender hears why."""

_BODY_SECONDS: Final = 30.0
_TAKEN_WITHIN_SECONDS: Final = 30.0
"""A client that does not take a piece of its stream for so long is cut off."""

_WHOLE_ANSWER_SECONDS: Final = 300.0
"""A client that does not take an answer in this time is cut off."""

_MAX_LENGTH_DIGITS: Final = 18
"""Longer numbers are certainly too large, and Python is slow or unwilling to read them."""


class HttpApi(HTTPServerConnectionDelegate):
    """Hands plain requests to the router, and WebSocket upgrades to a Tornado application."""

    def __init__(
        self,
        router: Router,
        sockets: HTTPServerConnectionDelegate,
        cors: Cors,
        guard: AddressGuard,
        max_body_bytes: int,
    ) -> None:
        self.router = router
        self.sockets = sockets
        self.cors = cors
        self.guard = guard
        self.max_body_bytes = max_body_bytes
        self.in_flight: set[asyncio.Task[None]] = set()
        self.idle: dict[HTTP1ServerConnection, float] = {}
        """Connections on which a request is awaited, and since when on the loop's clock."""
        self._addresses: dict[object, str] = {}
        self.stopping = False
        """Set to refuse whatever still comes in on connections that are open."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(server_conn, HTTP1ServerConnection)
        self.idle[server_conn] = asyncio.get_running_loop().time()
        if server_conn not in self._addresses:
            address = str(request_conn.context.remote_ip)  # type: ignore[attr-defined]
            if not self.guard.opened(address):
                return _Exchange(self, server_conn, request_conn, None)
            self._addresses[server_conn] = address
        return _Exchange(self, server_conn, request_conn, self._addresses[server_conn])

    def close_idle(self, seconds: float) -> None:
        """Close the connections on which no request has come for so long; slow headers count as none.

        Tornado can do this too, but it wraps a future for each request, which is a good part of its cost.
        """
        before = asyncio.get_running_loop().time() - seconds
        for connection, since in list(self.idle.items()):
            if since < before:
                connection.stream.close()

    def on_close(self, server_conn: object) -> None:
        """A connection has ended, or has become a WebSocket, which counts for itself."""
        assert isinstance(server_conn, HTTP1ServerConnection)
        self.idle.pop(server_conn, None)
        address = self._addresses.pop(server_conn, None)
        if address is not None:
            self.guard.closed(address)
        self.sockets.on_close(server_conn)


class _Exchange(HTTPMessageDelegate):
    """Collects a request, has it served, writes the answer. ``address`` None: one connection too many."""

    __slots__ = (
        "_address",
        "_api",
        "_body",
        "_body_timer",
        "_connection",
        "_request",
        "_server_conn",
        "_size",
        "_socket",
        "_stays_open",
        "_task",
        "_version",
        "_write_timer",
    )

    def __init__(
        self,
        api: HttpApi,
        server_conn: HTTP1ServerConnection,
        connection: HTTPConnection,
        address: str | None,
    ) -> None:
        self._api = api
        self._address = address
        self._server_conn = server_conn
        self._connection = connection
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._body_timer: asyncio.TimerHandle | None = None
        self._size = 0
        self._stays_open = False
        self._socket: HTTPMessageDelegate | None = None
        self._task: asyncio.Task[None] | None = None
        self._version = ""
        self._write_timer: asyncio.TimerHandle | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._api.idle.pop(self._server_conn, None)
        refused = self._refusal()
        if refused is not None:
            # Answered before the request is read, so Tornado closes the connection after it.
            self._request = Request(start_line.method, start_line.path, headers)
            self._write(answer_for(refused))
            return None
        if _is_handshake(start_line, headers):
            if self._address is not None and not self._api.guard.may_open_socket(self._address):
                self._request = Request(start_line.method, start_line.path, headers)
                self._write(answer_for(RateLimitedError("This address opens too many WebSockets; wait.")))
                return None
            self._socket = self._api.sockets.start_request(self._server_conn, self._connection)
            return self._socket.headers_received(start_line, headers)
        self._request = Request(start_line.method, start_line.path, headers, self._address or "")
        self._version = start_line.version
        if self._declared_size(headers) > MAX_DRAINED_BYTES:
            self._write(answer_for(self._too_large()))
        elif "Content-Length" in headers or "Transfer-Encoding" in headers:
            # Tornado's own time-out for bodies wraps a future for each request, even if the body is there.
            close = self._connection.close  # type: ignore[attr-defined]
            self._body_timer = asyncio.get_running_loop().call_later(_BODY_SECONDS, close)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._socket is not None:
            return self._socket.data_received(chunk)
        self._size += len(chunk)
        if self._size > self._api.max_body_bytes:
            self._body.clear()
        else:
            self._body.append(chunk)
        return None

    def finish(self) -> None:
        self._stop_body_timer()
        if self._socket is not None:
            self._socket.finish()
            return
        assert self._request is not None
        if self._server_conn.stream.closed() and self._request.method in ("GET", "HEAD"):
            # What was pipelined on a connection that is gone is still read, all at once. Nobody will hear.
            return
        if self._size > self._api.max_body_bytes:
            self._write(answer_for(self._too_large()))
            return
        self._request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._stays_open = _stays_open(self._version, self._request)
        self._connection.set_close_callback(self._on_client_gone)  # type: ignore[attr-defined]
        self._task = asyncio.get_running_loop().create_task(self._serve(self._request))
        self._api.in_flight.add(self._task)
        self._task.add_done_callback(self._api.in_flight.discard)

    def on_connection_close(self) -> None:
        self._stop_body_timer()
        if self._socket is not None:
            self._socket.on_connection_close()
        else:
            self._on_client_gone()

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()

    def _on_client_gone(self) -> None:
        # Only a wait for an answer is pointless now. A change that has begun is carried through: a job
        # that is stored must also reach the Matcher.
        if self._task is not None and self._request is not None and self._request.method == "GET":
            self._task.cancel()

    async def _serve(self, request: Request) -> None:
        answer: Answer | Stream
        try:
            if self._api.stopping:
                raise UnavailableError("The coordinator is stopping.")
            if request.method == "OPTIONS" and self._api.cors.enabled:
                answer = self._api.cors.preflight(request, self._api.router.allowed(request.path))
            else:
                handler, variable = self._api.router.find(request.method, request.path)
                answer = await handler(request, variable)
        except asyncio.CancelledError:
            return
        except Exception as error:
            answer = answer_for(error)
        if isinstance(answer, Stream):
            await self._write_stream(answer)
        else:
            self._write(answer)

    async def _write_stream(self, stream: Stream) -> None:
        """Send piece after piece, each when the client has taken the one before."""
        assert self._request is not None
        headers = AnswerHeaders({"Content-Type": stream.content_type})
        for name, value in self._api.cors.headers(self._request):
            headers.add(name, value)
        try:
            await self._connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
            if self._request.method != "HEAD":
                async for piece in stream.pieces:
                    async with asyncio.timeout(_TAKEN_WITHIN_SECONDS):
                        await self._connection.write(piece)
            self._connection.finish()
            if self._version != "HTTP/1.1":
                # Without chunks only the end of the connection is the end of the answer.
                self._connection.close()  # type: ignore[attr-defined]
        except StreamClosedError:
            logger.debug("the client left before the end of its stream")
        except (SlowReaderError, TimeoutError):
            logger.info("a client did not read its event stream fast enough and is cut off")
            self._connection.close()  # type: ignore[attr-defined]
        finally:
            stream.close()

    def _write(self, answer: Answer) -> None:
        assert self._request is not None
        cors = self._api.cors.headers(self._request)
        try:
            if self._stays_open:
                self._write_whole(answer_bytes(answer, cors))
            else:
                self._write_by_tornado(answer, self._request.method, cors)
        except StreamClosedError:
            logger.debug("the client left before its answer was written")

    def _write_whole(self, data: bytes) -> None:
        written = self._server_conn.stream.write(data)
        if written.done():
            self._connection.finish()
        else:
            # Not before, or a client that reads nothing could have any number of answers waiting for it.
            written.add_done_callback(self._on_written)
            loop = asyncio.get_running_loop()
            self._write_timer = loop.call_later(_WHOLE_ANSWER_SECONDS, self._server_conn.stream.close)

    def _on_written(self, written: asyncio.Future[None]) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
        if written.exception() is None:
            self._connection.finish()

    def _write_by_tornado(self, answer: Answer, method: str, cors: tuple[tuple[str, str], ...]) -> None:
        """For answers after which the connection may have to be closed."""
        headers = AnswerHeaders(dict((CONTENT_TYPE,)))
        for name, value in (*answer.headers, *cors):
            headers.add(name, value)
        headers["Content-Length"] = str(len(answer.body))
        body = None if method == "HEAD" else answer.body
        closes = self._request is not None and _asks_to_close(self._request)
        if closes:
            headers["Connection"] = "close"
        written = self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", answer.status, REASONS[answer.status]), headers, body
        )
        if closes:
            written.add_done_callback(lambda _: self._server_conn.stream.close())
        self._connection.finish()

    def _refusal(self) -> RateLimitedError | None:
        if self._address is None:
            return RateLimitedError("This address has too many connections open; close some first.")
        if not self._api.guard.may_send(self._address):
            return RateLimitedError("This address sends too many requests; send them more slowly.")
        return None

    def _too_large(self) -> RequestError:
        return PayloadTooLargeError(f"The body may have at most {self._api.max_body_bytes} bytes.")

    @staticmethod
    def _declared_size(headers: HTTPHeaders) -> int:
        if "Content-Length" not in headers:
            return 0
        declared = headers["Content-Length"]
        if not (declared.isascii() and declared.isdigit()):
            # Tornado itself refuses a malformed length right after this.
            return 0
        return int(declared) if len(declared) <= _MAX_LENGTH_DIGITS else MAX_DRAINED_BYTES + 1


def _stays_open(version: str, request: Request) -> bool:
    """Whether the connection goes on after the answer, as Tornado will see it (RFC 9112, section 9.3).

    Answers to HEAD have a length but no body, so Tornado writes them.
    """
    return (
        version == "HTTP/1.1"
        and request.method != "HEAD"
        and ("Connection" not in request.headers or request.headers["Connection"].lower() == "keep-alive")
    )


def _asks_to_close(request: Request) -> bool:
    """Whether ``close`` is among the connection options; Tornado knows it only alone."""
    if "Connection" not in request.headers:
        return False
    return "close" in (option.strip() for option in request.headers["Connection"].lower().split(","))


def _is_handshake(start_line: RequestStartLine, headers: HTTPHeaders) -> bool:
    """Whether a worker opens its WebSocket (RFC 6455, section 4.2.1); all else is plain HTTP."""
    return (
        "Upgrade" in headers  # first, because it is cheap and nearly always decides
        and start_line.method == "GET"
        and start_line.path.partition("?")[0] == "/"
        and headers["Upgrade"].lower() == "websocket"
        and "upgrade" in (token.strip() for token in headers.get("Connection", "").lower().split(","))
        and headers.get("Sec-WebSocket-Version") == "13"
        and "Sec-WebSocket-Key" in headers
        # Tornado's application would keep a body of any size in memory.
        and not ("Content-Length" in headers or "Transfer-Encoding" in headers)
    )
