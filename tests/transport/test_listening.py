from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator

import pytest
from tornado.netutil import add_accept_handler, bind_sockets

from compute_router.transport.listening import ListeningSocket
from compute_router.transport.patient_loop import watch_patiently


class Exhausted(ListeningSocket):
    """A listening socket on a system without free descriptors."""

    tries = 0
    exhausted = True

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        return super().accept()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exhausted]:
    (bound,) = bind_sockets(0, "127.0.0.1")
    taken = Exhausted.instead_of(bound)
    really_accept = socket.socket.accept

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        if isinstance(self, Exhausted) and self.exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return really_accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr("compute_router.transport.listening.REST_SECONDS", 0.05)
    assert isinstance(taken, Exhausted)
    yield taken
    taken.close()


async def test_without_descriptors_it_rests_complains_once_and_goes_on(
    listening: Exhausted, expected_errors: list[logging.LogRecord]
) -> None:
    watch_patiently()
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    stop = add_accept_handler(listening, lambda connection, address: taken.put_nowait(connection))
    with socket.create_connection(listening.getsockname()[:2]):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await taken.get()
        # Twice in each rest at the most: once to try, once to find that it is not wanted.
        assert 2 <= listening.tries <= 12
        (complaint,) = expected_errors
        assert "ulimit -n" in complaint.getMessage()
        listening.exhausted = False
        (await taken.get()).close()
    stop()


async def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch, listening: Exhausted) -> None:
    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(socket.socket, "accept", accept)
    with pytest.raises(OSError, match="Bad file"):
        listening.accept()
