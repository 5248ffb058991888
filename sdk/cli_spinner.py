"""A line on the terminal that shows a job's state and how long it has taken."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from types import TracebackType
from typing import Final, Self, TextIO

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.cli_output import printable
from compute_router.sdk.retries import Clock

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES: Final = "|/-\\"
_FRAME_S: Final = 0.1
_ERASE_LINE: Final = "\r\x1b[2K"


class Spinner:
    """Draws on a terminal while it is entered; draws nothing anywhere else."""

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._started_at = clock()
        self._state = "submitting"
        self._frames = itertools.cycle(_frames_for(self._stream))
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.active = self._stream.isatty()

    def show(self, status: JobStatus) -> None:
        """Take up a new state; it is drawn with the next frame."""
        self._state = status.value

    def above(self, line: str) -> None:
        """Show a line that stays; what is drawn goes on below it."""
        # In one piece: the line that is drawn comes from another thread.
        erase = "" if self._thread is None else _ERASE_LINE
        # It is told in the middle of a submission, which must not end for want of somebody who reads it.
        with contextlib.suppress(OSError):
            self._stream.write(f"{erase}{printable(line)}\n")
            self._stream.flush()

    def line(self) -> str:
        """What the next frame shows."""
        return f"{next(self._frames)} {self._state} {self._clock() - self._started_at:.1f} s"

    def __enter__(self) -> Self:
        if self.active:
            self._thread = threading.Thread(target=self._draw, name="spinner", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._stream.write(_ERASE_LINE)
            self._stream.flush()

    def _draw(self) -> None:
        while True:
            self._stream.write(_ERASE_LINE + self.line())
            self._stream.flush()
            if self._stopped.wait(_FRAME_S):
                return


def _frames_for(stream: TextIO) -> str:
    try:
        _FRAMES.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_FRAMES
    return _FRAMES
