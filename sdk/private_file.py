"""A JSON file that its owner alone may read, shared by any number of programs."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from compute_router.protocol.errors import ConfigurationError
from compute_router.sdk.private_writing import write_privately

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

C = TypeVar("C")
T = TypeVar("T")

_LONGEST_FILE: Final = 4 * 1024 * 1024
_ACCESS_FOR_OTHERS: Final = 0o077


class PrivateFile(Generic[C]):
    """A file whose whole content is one value.

    It is read at every call, so that a change by another program is seen; it is written whole under a lock
    and moved into place. Nothing is made before there is something to keep.

    ``name`` is what people know the file by, ``empty`` makes the content of a file that does not exist,
    ``decode`` reads it. ``error`` is raised when the file cannot be read or written, others may read it or
    it belongs to another user of the machine, or it is damaged; ``when_damaged`` and ``instead`` are what to
    do then.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        empty: Callable[[], C],
        decode: Callable[[bytes], C],
        error: type[ConfigurationError],
        when_damaged: str,
        instead: str,
    ) -> None:
        self.path = path
        self._name = name
        self._empty = empty
        self._decode = decode
        self._error = error
        self._when_damaged = when_damaged
        self._instead = instead

    def read(self) -> C:
        """The content of the file."""
        try:
            # Without O_NONBLOCK a pipe of that name would hang the program.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(descriptor, "rb") as file:
                self._check(os.fstat(file.fileno()))
                text = file.read(_LONGEST_FILE + 1)
        except FileNotFoundError:
            return self._empty()
        except OSError as error:
            raise self._unusable(error) from None
        try:
            if len(text) > _LONGEST_FILE:
                raise ValueError("it is too long")
            return self._decode(text)
        except (ValueError, RecursionError):
            # The decoder's own sentence could quote a part of the file.
            raise self._error(
                f"The {self._name} {self.path} is damaged, or a newer version wrote it. {self._when_damaged}"
            ) from None

    def change(self, change: Callable[[C], T]) -> T:
        """Read the content, change it in its place, and write it. When this raises, nothing was written."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A link stays a link, to the new content, and all names of a file have one lock.
            target = Path(os.path.realpath(self.path))
            with _locked(target.with_name(f"{target.name}.lock")):
                content = self.read()
                result = change(content)
                text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
                if len(text) > _LONGEST_FILE:
                    raise self._error(f"The {self._name} {self.path} is full. {self._instead}")
                write_privately(target, text)
        except OSError as error:
            raise self._unusable(error) from None
        return result

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._error(f"{self.path} is not a file.")
        if os.name != "posix":
            return
        if status.st_uid != os.geteuid():
            raise self._error(f"The {self._name} {self.path} belongs to another user of this machine.")
        if status.st_mode & _ACCESS_FOR_OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise self._error(
                f"The {self._name} {self.path} is open to other users (mode {mode:04o}). "
                f"Run: chmod 600 {self.path}"
            )

    def _unusable(self, error: OSError) -> ConfigurationError:
        return self._error(
            f"The {self._name} {self.path} cannot be used: {error.strerror or error}. {self._instead}"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; others wait for it, and it ends with the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # What was written is written, whatever becomes of the lock.
        with suppress(OSError):
            os.close(descriptor)
