"""Child processes of the demo: started, listened to, and stopped without leaving any behind."""

from __future__ import annotations

import re
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.settings import private_environment

_TAIL_LINES: Final = 20
_STOP_GRACE_S: Final = 5.0


class DemoFailedError(ComputeRouterError):
    """The demo could not do what it is there to show."""

    code = "demo_failed"


class Process:
    """One child process. All it prints goes to a log file and to whoever waits for a line of it."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self._log = (directory / f"{name.replace(' ', '-')}.log").open("w", encoding="utf-8")
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._changed = threading.Condition()
        self._unread: list[str] = []
        self._silent = False
        # Arguments come from this program; no shell is involved.
        self._child = subprocess.Popen(  # noqa: S603
            command,
            cwd=directory,
            env=private_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether the child has not ended."""
        return self._child.poll() is None

    @property
    def tail(self) -> list[str]:
        """The last lines that the child printed."""
        with self._changed:
            return list(self._tail)

    def wait_for_line(self, pattern: re.Pattern[str], timeout_s: float) -> re.Match[str]:
        """The first match of a pattern in a line that was not looked at before.

        Raises:
            DemoFailedError: no such line came in time, or the child ended without it.
        """
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            lines, self._unread = self._unread, []
            found = next((match for match in map(pattern.search, lines) if match), None)
            return found is not None or self._silent

        with self._changed:
            self._changed.wait_for(look, timeout_s)
            ended = self._silent
        if found is None and ended:
            raise DemoFailedError(f"The {self.name} ended before it was ready.")
        if found is None:
            raise DemoFailedError(f"The {self.name} was not ready within {timeout_s:g} s.")
        return found

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._child.terminate()

    def await_end(self, grace_s: float) -> None:
        """Wait for the child to end, and kill it when it does not."""
        try:
            self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()
        self._log.close()

    def kill(self) -> None:
        """End the child by force."""
        self._child.kill()
        self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None, "the child's output is a pipe"
        with self._child.stdout as lines:
            for line in lines:
                self._log.write(line)
                self._log.flush()
                with self._changed:
                    self._tail.append(line.rstrip("\n"))
                    self._unread.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()


class Processes:
    """All child processes of a demo. Leaving it stops them, the last started first."""

    def __init__(self, directory: Path, interrupts: Interrupts | None = None) -> None:
        self.directory = directory
        self._interrupts = interrupts or Interrupts()
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Start a child process."""
        with self._interrupts.held():
            process = Process(name, command, self.directory)
            self._started.append(process)
        return process

    def check(self) -> None:
        """See that all still run.

        Raises:
            DemoFailedError: one has ended.
        """
        for process in self._started:
            if not process.running:
                raise DemoFailedError(f"The {process.name} ended by itself.")

    def tails(self) -> dict[str, list[str]]:
        """The last lines of every child, by name."""
        return {process.name: process.tail for process in self._started}

    def stop(self) -> None:
        """Stop all: politely, one after the other, and by force what does not listen. May be called again."""
        with self._interrupts.held():
            for process in reversed(self._started):
                process.ask_to_stop()
                process.await_end(_STOP_GRACE_S)
