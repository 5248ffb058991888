"""The steps that the client's logic asks for; the clients carry them out.

The logic itself is written once, as generators that yield steps and get outcomes back. They do no
input or output, so the blocking and the asyncio client share them, and tests can run them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from enum import Enum
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Target(Enum):
    """Where a call goes."""

    COORDINATOR = "coordinator"
    FALLBACK = "fallback"


class Call(msgspec.Struct, frozen=True):
    """Make one HTTP request. ``path`` is relative to the target's base URL and may carry a query.

    ``idempotency_key`` goes into the header of that name, ``bearer`` into ``Authorization``;
    ``headers`` are further ones.
    """

    method: str
    path: str
    read_timeout_s: float
    body: bytes | None = None
    target: Target = Target.COORDINATOR
    idempotency_key: str | None = None
    bearer: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """What is asked for, without what is sent."""
        return f"Call({self.method} {self.path.partition('?')[0]})"


class Local(msgspec.Struct, frozen=True):
    """Read or write a file of this machine; ``run`` never raises."""

    run: Callable[[], None]


class Pause(msgspec.Struct, frozen=True):
    """Wait without asking anything. ``because`` says what failed, if something is made again afterwards."""

    seconds: float
    because: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """An HTTP answer came, whatever its status. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class NotReached(msgspec.Struct, frozen=True):
    """No answer came. ``may_have_arrived`` is False when the request certainly was not sent."""

    problem: str
    may_have_arrived: bool


Step = Call | Pause | Local
Reply = Answered | NotReached
Flow = Generator[Step, Reply | None, T]


def call(request: Call) -> Flow[Reply]:
    """Make a request and get its reply."""
    reply = yield request
    assert reply is not None, "whoever runs a flow answers every call"
    return reply


def local(act: Callable[[], T]) -> Flow[T]:
    """Do something with a file of this machine, and get what it returns or raises."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(act())
        except Exception as error:
            errors.append(error)

    yield Local(run)
    if errors:
        raise errors[0]
    return results[0]


def pause(seconds: float, because: str | None = None) -> Flow[None]:
    """Let time pass. ``because`` says what failed, if something is made again afterwards."""
    yield Pause(seconds, because)
