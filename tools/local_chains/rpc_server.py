"""JSON-RPC 2.0 over HTTP on the loopback address, in threads that end with the process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tools.local_chains.faults import Faults

Method = Callable[..., Any]
BROADCASTS: Final = frozenset({"eth_sendRawTransaction", "sendTransaction"})
CONTROLS: Final = "local_"
"""Beginning of the methods that steer a local chain; faults do not touch them."""


class RpcError(Exception):
    """An error that the caller is told."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


# The code and data of a Solana node that has fallen behind, for the solana client parses no others.
_BUSY: Final = RpcError(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42})


class RpcServer:
    """Serves methods by name until :meth:`close`. ``requests`` counts the calls by method.

    ``methods`` may be changed while it serves: a method is carried out by what stands there for it.
    What stands in ``odd`` for a method is answered instead of the truth, each thing once: results and errors.
    """

    def __init__(self, methods: Mapping[str, Method], faults: Faults, port: int = 0) -> None:
        self.methods = dict(methods)
        self._faults = faults
        self.requests: dict[str, int] = {}
        self.odd: dict[str, list[Any]] = {}
        handler = type("Handler", (_Handler,), {"answer": self._answer, "faults": faults})
        self._server = _Server(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name=f"local chain {self.url}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, body: bytes) -> tuple[Any, bool]:
        """The answer to a body, and whether it is to be lost on its way."""
        try:
            asked = json.loads(body)
        except ValueError:
            return _failed(None, RpcError(-32700, "parse error")), False
        if isinstance(asked, list):
            answers = [self._answer_one(one) for one in asked]
            return [answer for answer, _ in answers], any(lost for _, lost in answers)
        return self._answer_one(asked)

    def _answer_one(self, asked: Any) -> tuple[Any, bool]:
        number, name, params = asked.get("id"), asked.get("method"), asked.get("params") or []
        self.requests[name] = self.requests.get(name, 0) + 1
        method = self.methods.get(name)
        if method is None:
            return _failed(
                number, RpcError(-32601, f"the method {name} does not exist/is not available")
            ), False
        if self.odd.get(name):
            odd = self.odd[name].pop(0)
            if isinstance(odd, RpcError):
                return _failed(number, odd), False
            return {"jsonrpc": "2.0", "id": number, "result": odd}, False
        lost = False
        if name in BROADCASTS:
            if self._faults.strikes("refuse_broadcasts"):
                return _failed(number, _BUSY), False
            lost = self._faults.strikes("lose_answers")
        try:
            result = method(*params)
        except RpcError as error:
            return _failed(number, error), lost
        except (TypeError, ValueError, KeyError, IndexError) as error:
            return _failed(number, RpcError(-32602, f"invalid params: {error}")), lost
        return {"jsonrpc": "2.0", "id": number, "result": result}, lost


def _failed(number: Any, error: RpcError) -> dict[str, Any]:
    told = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": told}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for head and body
    answer: Callable[[bytes], tuple[Any, bool]]
    faults: Faults

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        steers = f'"{CONTROLS}'.encode() in body
        if not steers and self.faults.down:
            self._send(503, b'{"error":"down"}')
            return
        answer, lost = type(self).answer(body)
        if not steers and self.faults.delay_s:
            time.sleep(self.faults.delay_s)
        if lost:
            self.close_connection = True
            self.connection.close()
            return
        self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silence: a chain that logs each request hides what a test is about."""
