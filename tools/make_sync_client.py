"""Writes ``sdk/sync_client.py``, the blocking client, from ``sdk/async_client.py``.

``async`` and ``await`` go, a few names and sentences change, and ruff puts the rest in order. Where the two
need different code it lives in ``sdk/async_io.py`` and ``sdk/sync_io.py``, under the same names.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "sdk" / "async_client.py"
MADE: Final = ROOT / "sdk" / "sync_client.py"

_HEAD: Final = "# Made from async_client.py by: python -m tools.make_sync_client\n"
_LEFT_OUT: Final = frozenset({"async", "await"})
_NAMES: Final = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncComputeRouter": "ComputeRouter",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "async_io": "sync_io",
}
_SENTENCES: Final = {
    "The asyncio client.": "The blocking client.",
    "from asyncio code. Tasks of one event loop may share": "from blocking code. Threads may share",
}


def sync_client() -> str:
    """What the blocking client's file has to be."""
    return _HEAD + _in_order(blocking(_reworded(SOURCE.read_text("utf-8"))))


def blocking(source: str) -> str:
    """Python code without ``async`` and ``await``, and with the names of blocking code.

    Strings, comments and layout stay as they are.
    """
    lines = source.splitlines(keepends=True)
    # From the end, so that the places of those to come stay right.
    for row, start, end, instead in sorted(_changes(source), reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + instead + line[end:]
    return "".join(lines)


def _changes(source: str) -> Iterator[tuple[int, int, int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.NAME:
            continue
        row, start = token.start
        end = token.end[1]
        if token.string in _LEFT_OUT:
            # With the space behind it.
            yield row, start, end + 1, ""
        elif token.string in _NAMES:
            yield row, start, end, _NAMES[token.string]


def _reworded(source: str) -> str:
    for sentence, instead in _SENTENCES.items():
        if source.count(sentence) != 1:
            raise ValueError(f"{SOURCE.name} should say once: {sentence}")
        source = source.replace(sentence, instead)
    return source


def _in_order(source: str) -> str:
    """As ruff sorts imports and lays out code."""
    for words in (["check", "--quiet", "--fix-only", "--select", "I"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(MADE), "-"]
        source = subprocess.run(
            command, cwd=ROOT, input=source, capture_output=True, encoding="utf-8", check=True
        ).stdout
    return source


def main() -> None:
    """Write the file."""
    MADE.write_text(sync_client(), "utf-8")


if __name__ == "__main__":
    main()
