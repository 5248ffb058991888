"""What SQLite reports when its surroundings fail, told apart from mistakes of ours.

Constraint violations, bad SQL and misuse are mistakes in the program: they are not in ``FAULTS`` and pass
through unchanged.
"""

from __future__ import annotations

from typing import Final

import apsw

from compute_router.protocol.errors import StorageUnavailableError

FAULTS: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)

_DAMAGED: Final = "The database is damaged; restore it from a backup."

_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (apsw.BusyError, "Another program keeps the database locked; let it finish."),
    (apsw.CorruptError, _DAMAGED),
    (apsw.FullError, "The disk is full; free some space."),
    (apsw.IOError, "The disk does not work as it should; check it."),
    (apsw.NotADBError, "The database file was overwritten; restore it from a backup."),
    (apsw.ReadOnlyError, "The database has become read-only; make it writable."),
    (UnicodeDecodeError, _DAMAGED),
)


def unavailable(fault: Exception) -> StorageUnavailableError:
    """The error for callers: what SQLite said, and what a person can do about it."""
    advice = [text for kind, text in _ADVICE if isinstance(fault, kind)]
    return StorageUnavailableError(" ".join([f"The database cannot be used: {fault}.", *advice]))


def unreadable(what: str, error: Exception) -> StorageUnavailableError:
    """The error for a row that SQLite gave out in good faith, and that nobody can have written."""
    return StorageUnavailableError(f"{what} cannot be read: {error}. {_DAMAGED}")
