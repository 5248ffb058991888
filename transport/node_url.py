"""A chain's node, said by its URL or by a file that holds it; as ``--rpc-url`` and ``--rpc-url-file``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError
from compute_router.transport.flags import is_given

_LONGEST_URL: Final = 4096


def chosen_node(given: argparse.Namespace, argv: Sequence[str], default: str) -> str | Path:
    """The node's URL, or the file that it is in. A flag wins over a variable.

    Raises:
        ConfigurationError: both were given in the same way.
    """
    url, file = given.rpc_url, given.rpc_url_file
    if url is not None and file is not None:
        by_flag = is_given("--rpc-url", argv), is_given("--rpc-url-file", argv)
        if by_flag[0] == by_flag[1]:
            raise ConfigurationError("--rpc-url and --rpc-url-file are two ways to say the same: give one")
        url, file = (url, None) if by_flag[0] else (None, file)
    if file is not None:
        return Path(file)
    return default if url is None else str(url)


def url_in(node: str | Path) -> str:
    """The URL itself, read from its file if it is in one.

    Raises:
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    if isinstance(node, str):
        return node
    with node.open("rb") as opened:
        return opened.read(_LONGEST_URL).decode("utf-8").strip()
