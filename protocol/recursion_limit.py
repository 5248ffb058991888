"""Keeping the interpreter's recursion limit while packages are imported that raise it.

``py_ecc``, which ``eth_account`` imports, sets it to 100,000. The C stack does not grow with it, so from then
on a few kilobytes of nested JSON end the process, where they were a :class:`RecursionError` before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_recursion_limit() -> Iterator[None]:
    """At the end the limit is what it was at the beginning, whatever was imported in between."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
