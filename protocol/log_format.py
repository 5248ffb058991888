"""Log lines that tell where a program failed, and quote nothing of what it was working on.

The sentence of an exception may hold a piece of the data that caused it: ``KeyError`` names the key,
``ValueError`` the text. In programs that handle other people's prompts such sentences stay out of the logs.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Final

from compute_router.protocol.errors import ComputeRouterError

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
# What SQLite says names columns and files, and never values.
_QUOTELESS_MODULES: Final = frozenset({"apsw"})

# They log URLs, which may hold the key of a node.
_TALKATIVE: Final = ("aiohttp", "httpx", "httpcore", "urllib3", "web3")


def describe(error: BaseException) -> str:
    """The kind of an error, with its sentence if that is known to quote nobody's data."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, ComputeRouterError) or kind.__module__ in _QUOTELESS_MODULES:
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{name}: {error.strerror}"
    return name


def place(error: BaseException) -> str:
    """Where an error came from, and what it came of: frames with their lines of code, without values."""
    parts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = "".join(traceback.format_tb(cause.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{describe(cause)}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\nwhich came of this:\n\n".join(parts)


class QuotelessFormatter(logging.Formatter):
    """Formats exceptions by :func:`place`."""

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the name that logging calls
        return "" if ei[1] is None else place(ei[1])


def log_to_stderr(level: str, line: str, time: str | None = None) -> None:
    """Have all logging of this program go to standard error, formatted by ``line`` and ``time``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(QuotelessFormatter(line, time))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
