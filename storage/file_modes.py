"""Who may read the database's files: they hold prompts, results and pairing codes."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path
from typing import Final

PRIVATE_MODE: Final = 0o600
_ACCESS_FOR_OTHERS: Final = 0o077
_SUFFIXES: Final = ("", "-wal", "-shm")

_logger = logging.getLogger(__name__)


def create_private(path: Path) -> None:
    """Make an empty file for its owner alone, unless something has this name already.

    SQLite gives its ``-wal`` and ``-shm`` the mode of the database. Where no file can be made, whoever opens
    it next says why.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))


def warn_if_open_to_others(database: Path) -> None:
    """Log a warning for a file of this database that users other than its owner may read or write."""
    if os.name != "posix":
        return
    for suffix in _SUFFIXES:
        path = database.with_name(database.name + suffix)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & _ACCESS_FOR_OTHERS:
            _logger.warning("%s is open to other users (mode %04o). Run: chmod 600 %s", path, mode, path)
