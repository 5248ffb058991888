"""The listening socket, which rests when the system is out of file descriptors or memory."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Final

from tornado.ioloop import IOLoop

logger = logging.getLogger(__name__)

REST_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 60.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListeningSocket(socket.socket):
    """Tornado would try again at once, for ever, and log each try with its traceback."""

    _complained_at = float("-inf")

    @classmethod
    def instead_of(cls, bound: socket.socket) -> ListeningSocket:
        """Take over the descriptor of a bound socket."""
        taken_over = cls(fileno=bound.detach())
        taken_over.setblocking(False)
        return taken_over

    def accept(self) -> tuple[socket.socket, object]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._rest(error)
            # Tornado takes it that nobody is waiting.
            raise BlockingIOError from error

    def _rest(self, error: OSError) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._complained_at >= _SILENT_SECONDS:
            self._complained_at = loop.time()
            logger.error(
                "no connection can be taken (%s). Raise the limit of open files (ulimit -n), or find out who "
                "holds so many connections.",
                error.strerror,
            )
        IOLoop.current().update_handler(self, IOLoop.NONE)
        loop.call_later(REST_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if self.fileno() >= 0:
            IOLoop.current().update_handler(self, IOLoop.READ)
