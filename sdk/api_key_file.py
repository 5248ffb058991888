"""An API key in a file that its owner alone may read. On a command line others could see the key."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from compute_router.protocol.api_keys import key_id_of
from compute_router.protocol.errors import ConfigurationError

_LONGEST_FILE: Final = 4096
_ACCESS_FOR_OTHERS: Final = 0o077


def read_api_key(path: Path) -> str:
    """The key in a file of one line.

    Raises:
        ConfigurationError: the file cannot be read, others may read it, or it holds no API key.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST_FILE)
    except OSError as error:
        raise ConfigurationError(
            f"The file {path} cannot be read: {error.strerror or error}. Name another with --api-key-file."
        ) from error
    if os.name == "posix" and mode & _ACCESS_FOR_OTHERS:
        raise ConfigurationError(
            f"The file {path} is open to other users (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}"
        )
    api_key = content.decode("latin-1").strip()
    if key_id_of(api_key) is None:
        raise ConfigurationError(f"The file {path} holds no API key: one line that begins with crk_.")
    return api_key
