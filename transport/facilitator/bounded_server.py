"""An HTTP server that strangers can neither fill with connections nor stop by sending slowly."""

from __future__ import annotations

import logging
from typing import Final

from tornado import web
from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from compute_router.protocol.errors import ConfigurationError
from compute_router.transport.listening import ListeningSocket

logger = logging.getLogger(__name__)

_BODY_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 30.0
"""How long a connection may send nothing, or only a part of a request's head."""
_HEADER_BYTES: Final = 16 * 1024
MOST_CONNECTIONS: Final = 512
"""Half of the file descriptors that a process usually has."""


class BoundedServer(HTTPServer):
    """When one connection too many comes, the one that has been without a whole request for longest ends.

    So whoever holds many connections loses them, and whoever sends his request at once is answered.
    """

    def initialize(  # type: ignore[override]  # what a caller may choose is less than Tornado's server offers
        self, application: web.Application, *, largest_body: int, connections: int = MOST_CONNECTIONS
    ) -> None:
        """``largest_body`` is in bytes; what is longer is cut off unanswered."""
        super().initialize(
            application,
            max_body_size=largest_body,
            max_header_size=_HEADER_BYTES,
            body_timeout=_BODY_SECONDS,
            idle_connection_timeout=_IDLE_SECONDS,
        )
        self._most = connections
        # In the order in which they began to wait.
        self._waiting: dict[IOStream, None] = {}
        self._answering: set[IOStream] = set()

    def listen_on(self, host: str, port: int) -> int:
        """Start to answer; returns the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            sockets = bind_sockets(port, host)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(
                f"Cannot listen on {host}:{port}: {reason}. Choose another --port or --host."
            ) from None
        taken = int(sockets[0].getsockname()[1])
        self.add_sockets([ListeningSocket.instead_of(each) for each in sockets])
        return taken

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """Take a connection, for which another one may have to go."""
        if len(self._waiting) + len(self._answering) >= self._most:
            oldest = next(iter(self._waiting), stream)
            self._waiting.pop(oldest, None)
            oldest.close()
            if oldest is stream:
                return
        self._waiting[stream] = None
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """A connection has ended."""
        super().on_close(server_conn)
        assert isinstance(server_conn, HTTP1ServerConnection)
        self._waiting.pop(server_conn.stream, None)
        self._answering.discard(server_conn.stream)

    def begun(self, stream: IOStream) -> None:
        """The whole of a request has come; its connection stays until it is answered."""
        if stream in self._waiting:
            del self._waiting[stream]
            self._answering.add(stream)

    def answered(self, stream: IOStream) -> None:
        """The connection waits for a request again."""
        if stream in self._answering:
            self._answering.discard(stream)
            self._waiting[stream] = None
