"""A simulated worker's connection to a real coordinator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from compute_router.protocol.messages import COORDINATOR_FRAMES, Frame
from tests.transport.raw_websocket import CLOSE, PING, PONG, TEXT, RawWebSocket


class WireLink:
    """Frames in ``up`` go out in the next turn of the loop, so that the worker can still reorder them."""

    def __init__(self, hears: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        self.half_open = False
        self.up: deque[bytes | None] = deque()
        self._hears = hears
        self._lost = lost
        self._socket: RawWebSocket | None = None
        self._gone = False
        self._writing = False

    async def live(self, port: int) -> None:
        """Connect, and hear what comes until the connection ends."""
        try:
            self._socket = await RawWebSocket.open(port)
            self._flush_soon()
            while True:
                opcode, data = await self._socket.receive()
                if opcode == CLOSE:
                    break
                if opcode == PING:
                    self._socket.send(data, PONG)
                elif opcode == TEXT and not self.half_open and not self._gone:
                    self._hears(COORDINATOR_FRAMES.decode(data))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if self._socket is not None and not self.half_open:
                self._socket.abort()
            if not self._gone and not self.half_open:
                self._gone = True
                self._lost()

    def say(self, frame_json: bytes) -> None:
        """Send a frame, unless the connection is frozen or gone."""
        if not self.half_open and not self._gone:
            self.up.append(frame_json)
            self._flush_soon()

    def leave(self) -> None:
        """Cut the connection; a frozen one stays open, as after the loss of a network."""
        self._gone = True
        if self._socket is not None and not self.half_open:
            self._socket.abort()

    def cut(self, *, lose: bool) -> None:
        """Break the connection; with ``lose``, before what was just said is on its way."""
        if not lose:
            self._flush()
        if self._socket is not None:
            self._socket.abort()

    def freeze(self) -> None:
        """From now on nothing is heard and nothing said, and the socket stays open."""
        self.half_open = True
        self.up.clear()

    def destroy(self) -> None:
        """The end of the run."""
        self._gone = True
        if self._socket is not None:
            self._socket.abort()

    def _flush_soon(self) -> None:
        if self._socket is not None and self.up and not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._writing = False
        while self.up and self._socket is not None and not self._gone:
            frame = self.up.popleft()
            if frame is not None:
                self._socket.send(frame)
