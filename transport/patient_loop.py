"""Tornado's loop, made slower to look away from a socket.

Tornado stops watching a socket for data whenever nobody is about to read from it, and watches it again a
moment later: twice for each request with a body, and twice for each frame of a worker. Each change costs
several calls of the operating system, and nearly always nothing arrives in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOMainLoop


class PatientIOLoop(AsyncIOMainLoop):
    """Goes on watching a socket that nobody reads from, until data comes that nobody wants yet."""

    _unwanted: set[int]

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._unwanted = set()

    def add_handler(self, fd: Any, handler: Callable[..., None], events: int) -> None:
        number, _ = self.split_fd(fd)

        def unless_unwanted(fileobj: Any, happened: int) -> None:
            if happened == IOLoop.READ and number in self._unwanted:
                self._unwanted.discard(number)
                super(PatientIOLoop, self).update_handler(
                    fd, IOLoop.WRITE if number in self.writers else IOLoop.NONE
                )
            else:
                handler(fileobj, happened)

        super().add_handler(fd, unless_unwanted, events)

    def update_handler(self, fd: Any, events: int) -> None:
        number, _ = self.split_fd(fd)
        if events & IOLoop.READ:
            self._unwanted.discard(number)
        elif number in self.readers:
            self._unwanted.add(number)
            events |= IOLoop.READ
        if number not in self.readers or bool(events & IOLoop.WRITE) != (number in self.writers):
            super().update_handler(fd, events)

    def remove_handler(self, fd: Any) -> None:
        number, _ = self.split_fd(fd)
        self._unwanted.discard(number)
        super().remove_handler(fd)


def watch_patiently() -> None:
    """Have Tornado use this loop on the running asyncio loop, unless it has one there already."""
    if IOLoop.current(instance=False) is None:
        PatientIOLoop()
