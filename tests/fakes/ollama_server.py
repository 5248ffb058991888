"""A stand-in for Ollama: its HTTP API on a real port, playing a script."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final

PATIENCE_SECONDS: Final = 10.0


class AnswerStream:
    """What a script uses to answer one ``/api/generate`` request."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler

    def status(self, status: int, error: str) -> None:
        """Answer with an error status, as Ollama does before it streams."""
        body = json.dumps({"error": error}).encode()
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def begin(self) -> None:
        """Start a chunked stream."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "application/x-ndjson")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def line(self, content: str) -> None:
        """Send one line."""
        data = content.encode() + b"\n"
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def part(self, text: str) -> None:
        """Send a piece of the model's answer."""
        self.line(json.dumps({"model": "played", "response": text, "done": False}))

    def done(self) -> None:
        """Say that the model is done, and end the stream."""
        self.line(json.dumps({"model": "played", "response": "", "done": True, "done_reason": "stop"}))
        self.end()

    def end(self) -> None:
        """End the stream in good order."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Close the connection in the middle of the stream."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def wait_until_left(self) -> None:
        """Wait until the client closes the connection."""
        self._handler.connection.settimeout(PATIENCE_SECONDS)
        # A client that leaves with unread data behind resets the connection.
        with contextlib.suppress(ConnectionResetError):
            if self._handler.connection.recv(1):
                raise AssertionError("the client said more instead of leaving")
        self._handler.close_connection = True


Script = Callable[[AnswerStream], None]


def saying(*pieces: str) -> Script:
    """The model answers these pieces and is done."""

    def play(stream: AnswerStream) -> None:
        stream.begin()
        for piece in pieces:
            stream.part(piece)
        stream.done()

    return play


class Gate:
    """A script that says one piece, and the rest only when it is opened."""

    def __init__(self, first: str, rest: str) -> None:
        self._first, self._rest = first, rest
        self.reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        """Let the answer go on."""
        self._opened.set()

    def __call__(self, stream: AnswerStream) -> None:
        stream.begin()
        stream.part(self._first)
        self.reached.set()
        if not self._opened.wait(PATIENCE_SECONDS):
            raise TimeoutError("nobody opened the gate")
        stream.part(self._rest)
        stream.done()


class UntilLeft:
    """A script that says some pieces, and then nothing until the client has closed the connection.

    Without pieces it does not even begin to answer, as while a model is loaded.
    """

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces
        self.reached = threading.Event()
        self.left = threading.Event()

    def __call__(self, stream: AnswerStream) -> None:
        if self._pieces:
            stream.begin()
        for piece in self._pieces:
            stream.part(piece)
        self.reached.set()
        stream.wait_until_left()
        self.left.set()


class OllamaServer:
    """Use as a context manager. ``requests`` holds the bodies of all generate requests."""

    def __init__(self, models: Sequence[str] = ("played:latest",), script: Script | None = None) -> None:
        self.models = list(models)
        self.script = script or saying("Hello", " world")
        self.tags_answer: bytes | None = None
        """Raw body of ``/api/tags`` in place of the list of models."""
        self.requests: list[dict[str, Any]] = []
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> OllamaServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; may be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Scripts that hang end with the process; nobody waits for them.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle of an answer is part of many scripts."""


def _handler_for(fake: OllamaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != "/api/tags":
                AnswerStream(self).status(404, "not found")
                return
            listed = [{"model": name, "name": name, "digest": "d" * 64, "size": 1} for name in fake.models]
            body = fake.tags_answer or json.dumps({"models": listed}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append(body)
            stream = AnswerStream(self)
            if body["model"] not in fake.models:
                stream.status(404, f"model '{body['model']}' not found")
                return
            fake.script(stream)

        def log_message(self, format: str, *args: object) -> None:
            """Tests have no use for an access log."""

    return Handler
