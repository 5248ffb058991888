"""Keys that a commit names twice: two readers of such a body could take it for two different jobs."""

from __future__ import annotations

import json
from typing import Any, Final

from compute_router.protocol.errors import RequestError
from compute_router.protocol.http_api import CommitRequest

_KEYS: Final = tuple(f'"{name}"'.encode() for name in CommitRequest.__struct_fields__)
_REQUIRED: Final = len(CommitRequest.__struct_fields__) - len(CommitRequest.__struct_defaults__)
_BEGINNING: Final = 32


def refuse_repeated_keys(body: bytes, payload: bytes) -> None:
    """Make sure that a commit names each key once. The payload is the worker's to judge.

    ``body`` was decoded already, so it has no key of another name; ``payload`` is the object in it. Nearly
    every body is let through by looking at the few bytes around the payload; only one in which a key could be
    hidden, or stands twice, is read again.

    Raises:
        RequestError: a key is there twice.
    """
    # To look for the whole of a large payload costs much more than to look for its beginning.
    start = body.find(payload[:_BEGINNING])
    if not body.startswith(payload, start):
        start = body.find(payload)
    around = body[:start] + body[start + len(payload) :]
    if b"\\" in around:
        _read_again(body)
        return
    if around.count(b",") < _REQUIRED:
        # There are no more members than there must be different ones.
        return
    for key in _KEYS:
        if around.count(key) > 1:
            _read_again(body)
            return


def _read_again(body: bytes) -> None:
    objects: list[list[tuple[str, Any]]] = []

    def note(members: list[tuple[str, Any]]) -> None:
        # The outermost object ends last.
        objects[:] = [members]

    try:
        json.loads(body, object_pairs_hook=note)
    except (ValueError, RecursionError):
        # Only numbers that no field takes are more than this reader can bear.
        raise RequestError("The body cannot be read.") from None
    names = [name for name, _ in objects[0]]
    if len(names) != len(set(names)):
        raise RequestError("The body names a key twice.")
