"""Whether the coordinator logged an error that the injected faults do not explain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pykka

_EXPLAINED: Final = ("could not be stored before the stop",)
# asyncio tells of tasks that were forgotten and of exceptions that nobody looked at.
_OURS: Final = ("compute_router", "pykka", "asyncio")


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unexplained: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        # A request that is served while the actors stop has lost its connection already.
        stopped = isinstance(error, pykka.ActorDeadError)
        if not (stopped or is_explained(text)):
            self.unexplained.append(f"{record.name}: {text}" + (f": {error!r}" if error else ""))


def is_explained(text: str) -> bool:
    """Whether a logged error is one that faults lead to."""
    return any(phrase in text for phrase in _EXPLAINED)


@contextmanager
def unexplained_errors() -> Iterator[list[str]]:
    """Collects the errors that are logged meanwhile."""
    collector = _Collector()
    for name in _OURS:
        logging.getLogger(name).addHandler(collector)
    try:
        yield collector.unexplained
    finally:
        for name in _OURS:
            logging.getLogger(name).removeHandler(collector)
