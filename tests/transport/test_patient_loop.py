from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError

from compute_router.transport.patient_loop import PatientIOLoop, watch_patiently


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_it_is_put_in_place_once_on_each_loop() -> None:
    watch_patiently()
    first = IOLoop.current()
    watch_patiently()
    assert IOLoop.current() is first
    assert isinstance(first, PatientIOLoop)


async def test_a_socket_is_still_watched_while_nobody_reads_and_no_data_is_lost(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    watch_patiently()
    ours, theirs = pair
    stream = IOStream(ours)
    loop = IOLoop.current()
    assert isinstance(loop, PatientIOLoop)
    reading = asyncio.ensure_future(stream.read_until(b"."))
    await asyncio.sleep(0)
    theirs.sendall(b"one.two.")
    assert await reading == b"one."
    assert ours.fileno() in loop.readers
    assert await stream.read_until(b".") == b"two."
    reading = asyncio.ensure_future(stream.read_until(b"."))
    theirs.sendall(b"three.")
    assert await reading == b"three."
    stream.close()
    assert ours.fileno() not in loop.readers


async def test_data_that_nobody_wants_yet_wakes_the_loop_only_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    watch_patiently()
    loop = IOLoop.current()
    assert isinstance(loop, PatientIOLoop)
    ours, theirs = pair
    woken: asyncio.Queue[int] = asyncio.Queue()
    loop.add_handler(ours, lambda fileobj, events: woken.put_nowait(events), IOLoop.READ)
    loop.update_handler(ours, IOLoop.ERROR)
    assert ours.fileno() in loop.readers
    theirs.sendall(b"early")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await woken.get()
            pytest.fail("nobody wanted to know")
    assert ours.fileno() not in loop.readers
    loop.update_handler(ours, IOLoop.READ)
    assert await woken.get() == IOLoop.READ
    loop.remove_handler(ours)


async def test_the_end_of_a_connection_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    watch_patiently()
    ours, theirs = pair
    stream = IOStream(ours)
    theirs.sendall(b"x.")
    await stream.read_until(b".")
    reading = asyncio.ensure_future(stream.read_until(b"."))
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(StreamClosedError):
        await reading
