"""The file of a key, a worker's or a coordinator's, which its owner alone may read.

It holds 64 hex characters, the ed25519 seed, and a newline.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Final
from uuid import uuid4

from nacl.signing import SigningKey

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_likeness import refuse_key_for_path

_SEED: Final = re.compile(rb"[0-9a-f]{64}\n?")
_LONGEST_FILE: Final = 4096
_ACCESS_FOR_OTHERS: Final = 0o077


def load_or_create_key(path: Path) -> SigningKey:
    """The key in a file; makes the file, and its directory, when there is none. Never overwrites a file.

    Raises:
        ConfigurationError: the file cannot be read or written, others may read it, or it holds no key. A key
            in place of a path is not repeated.
    """
    refuse_key_for_path(path)
    try:
        if not path.exists():
            _create(path)
        return _load(path)
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be used: {error.strerror or error}. Choose another with --key."
        ) from error


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A complete file is linked into place: nobody ever reads half a key, and of two
    # programs that start at once, the second one uses the key of the first.
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(SigningKey.generate().encode().hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _load(path: Path) -> SigningKey:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _ACCESS_FOR_OTHERS:
            raise ConfigurationError(
                f"The key file {path} is open to other users (mode {stat.S_IMODE(mode):04o}). "
                f"Run: chmod 600 {path}"
            )
        content = file.read(_LONGEST_FILE)
    if not _SEED.fullmatch(content):
        raise ConfigurationError(
            f"The key file {path} is damaged: it must hold 64 hex characters. "
            "Restore it from a backup, or move it away to get a new key."
        )
    return SigningKey(bytes.fromhex(content.decode("ascii")))
