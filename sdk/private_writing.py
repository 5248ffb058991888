"""Writes a file that only its owner may read, whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_privately(path: Path, content: bytes) -> None:
    """Put a file of mode 0600 in its place when all of it is on disk. Readers see the old one or the new.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
