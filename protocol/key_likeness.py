"""Texts that are rather keys than names of files, so that no complaint about a missing file shows a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError

# Hex of 32 or 64 bytes, numbers of a keypair, a keypair in base58, and the words of BIP 39; each also
# with a slip of the pen. And the keys of our own API.
_KEY: Final = re.compile(
    r"(0[xX])?[0-9a-fA-F]{60,132}|\[[^/]*|\d{1,3}(\s*,\s*\d{1,3}){15,}\s*,?|[1-9A-HJ-NP-Za-km-z]{80,90}"
    r"|[a-z]{3,8}(\s+[a-z]{3,8}){11,23}|crk_[^/]*",
    re.DOTALL,
)
_AROUND: Final = " \t\r\n\"'"


def looks_like_key(text: str) -> bool:
    """Whether a text is rather a key than the name of a file. Anything in a directory is a name."""
    return _KEY.fullmatch(text.strip(_AROUND)) is not None


def refuse_key_for_path(path: Path) -> None:
    """Refuse a path that is a key, without a word of it.

    Raises:
        ConfigurationError: it is one.
    """
    if looks_like_key(str(path)):
        raise ConfigurationError(
            "This is a key and not a file: put it into a file that only you can read, and name that."
        )
