"""Copies a database while a coordinator uses it: consistent, complete or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from compute_router.protocol.errors import ConfigurationError, StorageUnavailableError
from compute_router.storage.faults import FAULTS
from compute_router.storage.reading import open_for_reading

_PAGES_AT_A_TIME: Final = 2_000

Progress = Callable[[float], None]
"""Told which share of the work is done, from 0 to 1."""


def back_up(database: Path, destination: Path, progress: Progress) -> None:
    """Copy a database to a new file, as it is at one moment. The coordinator goes on meanwhile.

    The copy is one file without companions, readable by its owner only, and on the disk when this returns.

    Raises:
        ConfigurationError: the destination exists or cannot be made, or the database is not ours.
        StorageUnavailableError: the database cannot be read, or the copy cannot be written.
    """
    _refuse_existing(destination)
    with closing(open_for_reading(database)) as source:
        partial = _new_partial(destination)
        try:
            _copy(source, partial, progress)
            _sync(partial)
            _refuse_existing(destination)
            partial.rename(destination)
        except (*FAULTS, OSError) as error:
            raise StorageUnavailableError(f"The backup to {destination} failed: {error}.") from error
        finally:
            partial.unlink(missing_ok=True)
    _sync(destination.parent)


def _refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise ConfigurationError(
            f"{destination} exists. Choose another path for the backup, or move it away."
        )


def _new_partial(destination: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(
            prefix=f"{destination.name}.", suffix=".partial", dir=destination.parent
        )
    except OSError as error:
        raise ConfigurationError(
            f"{destination} cannot be written ({error.strerror}). Choose another path for the backup."
        ) from error
    os.close(handle)
    return Path(name)


def _copy(source: apsw.Connection, partial: Path, progress: Progress) -> None:
    # The open transaction keeps the copy at one moment. Without it each change by the coordinator would
    # start the copy anew.
    with closing(apsw.Connection(str(partial))) as copy:
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES_AT_A_TIME)
                progress(1 - backup.remaining / backup.page_count)
        # A database with a log beside it could lose that on its way to another machine.
        copy.pragma("journal_mode", "delete")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
