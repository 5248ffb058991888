"""What the link says about the end of a connection."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest
import tornado.httpserver
import tornado.testing
import tornado.web
import tornado.websocket

from compute_router.worker.loop_thread import LoopThread
from compute_router.worker.session_events import Connected, Disconnected, Event
from compute_router.worker.socket_link import LinkBroken, SocketLink
from compute_router.worker.timing import CONNECT_WAIT

PATIENCE_SECONDS = 10.0


class ClosesAtOnce(tornado.websocket.WebSocketHandler):
    def initialize(self, code: int | None, reason: str | None) -> None:
        self.code, self.reason = code, reason

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.close(self.code, self.reason)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    thread.start()
    yield thread
    thread.stop()


def told_by(loop: LoopThread, code: int | None, reason: str | None) -> tuple[Event | LinkBroken, ...]:
    """What a link tells of a coordinator that takes the connection and closes it so."""
    listener, port = tornado.testing.bind_unused_port()
    ending = {"code": code, "reason": reason}
    application = tornado.web.Application([("/", ClosesAtOnce, ending)], log_function=lambda _handler: None)
    server = tornado.httpserver.HTTPServer(application)

    async def close() -> None:
        server.stop()
        await server.close_all_connections()

    loop.call(lambda: server.add_socket(listener))
    told: SimpleQueue[Event | LinkBroken] = SimpleQueue()
    SocketLink(loop, f"ws://127.0.0.1:{port}/", CONNECT_WAIT, told.put).connect()
    events = tuple(told.get(timeout=PATIENCE_SECONDS) for _ in range(2))
    loop.submit(close()).result(PATIENCE_SECONDS)
    return events


def test_a_close_is_told_with_the_coordinators_code_and_reason(loop: LoopThread) -> None:
    reason = "replaced by a newer connection of this key"
    assert told_by(loop, 4001, reason) == (
        Connected(),
        Disconnected(f"closed the connection (code 4001: {reason})", 4001, reason),
    )


def test_a_close_without_a_reason_is_told_by_its_code(loop: LoopThread) -> None:
    assert told_by(loop, 1001, None) == (
        Connected(),
        Disconnected("closed the connection (code 1001)", 1001, ""),
    )


def test_a_close_without_a_code_is_told_as_one_without_a_word(loop: LoopThread) -> None:
    assert told_by(loop, None, None) == (
        Connected(),
        Disconnected("closed the connection without a word", None, ""),
    )
