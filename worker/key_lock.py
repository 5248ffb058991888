"""One worker process for each key: a lock on the key file that dies with its holder.

Two workers with one key would take the connection from each other for ever.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from compute_router.protocol.errors import ConfigurationError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Windows lets nobody else read what is locked, so the locked byte is one far behind the key.
_LOCKED_BYTE: Final = 1 << 30


class KeyLock:
    """Holds a key file until it is released, or until the process ends. Also a context manager."""

    def __init__(self, path: Path) -> None:
        """Lock the key file at this path; links to one file share its lock.

        Raises:
            ConfigurationError: another worker holds it, or it cannot be locked.
        """
        try:
            self._descriptor: int | None = _open(path)
        except OSError as error:
            raise _cannot_be_locked(path, error) from error
        try:
            taken = _take(self._descriptor)
        except OSError as error:
            self.release()
            raise _cannot_be_locked(path, error) from error
        if not taken:
            self.release()
            raise ConfigurationError(
                f"Another worker on this machine uses {path}; give this one a key of its own with --key PATH."
            )

    def release(self) -> None:
        """Give the lock up. Calling it twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> KeyLock:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _open(path: Path) -> int:
    # NFS gives an exclusive lock only to who may write; elsewhere a key that is read-only can be locked, too.
    try:
        return os.open(path, os.O_RDWR)
    except OSError:
        return os.open(path, os.O_RDONLY)


def _take(descriptor: int) -> bool:
    """Try to lock; False when somebody else has the lock."""
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _cannot_be_locked(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The key file {path} cannot be locked: {error.strerror or error}. Choose another with --key."
    )
