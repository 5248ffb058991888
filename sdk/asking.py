"""Asking something that may be asked any number of times, until there is an answer."""

from __future__ import annotations

from compute_router.sdk.answers import served
from compute_router.sdk.errors import CoordinatorFailedError, CoordinatorUnreachableError
from compute_router.sdk.retries import Retries
from compute_router.sdk.steps import Answered, Call, Flow, call, pause


def ask(request: Call, retries: Retries) -> Flow[Answered]:
    """Repeat a request until the coordinator answers it, well or with a refusal.

    Raises:
        CoordinatorUnreachableError, CoordinatorFailedError: the time is over.
    """
    while True:
        reply = yield from call(request)
        try:
            return served(reply)
        except CoordinatorUnreachableError as error:
            pause_s, because = retries.pause_s(), str(error)
            if pause_s is None:
                raise
        except CoordinatorFailedError as error:
            pause_s, because = retries.pause_s(error.retry_after_s), str(error)
            if pause_s is None:
                raise
        yield from pause(pause_s, because)
