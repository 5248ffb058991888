"""Makes an API key in the database of a coordinator that does not run: the way to the first admin key."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from compute_router.protocol.api_keys import KeyRequest
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import key_for
from compute_router.storage.sqlite_store import open_sqlite_store


def make_api_key(database: Path, wanted: KeyRequest, now: UnixMs) -> str:
    """Keep a new key in a database that nobody uses, and return the key, which is kept nowhere.

    Raises:
        DatabaseInUseError: a coordinator holds the database; ask that one for the key.
        ConfigurationError: there is no such database, or it cannot be written.
        StorageUnavailableError: the disk failed; no key was made.
    """
    if not database.is_file():
        raise ConfigurationError(
            f"{database} is not a file. Name the database of a coordinator; its first start makes it."
        )
    api_key, kept = key_for(wanted, now)
    with closing(open_sqlite_store(database)) as store, store.transaction():
        store.put_api_key(kept)
    return api_key
