"""Getting a job to the coordinator once, over connections and coordinators that fail on the way."""

from __future__ import annotations

from enum import Enum
from typing import Final

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk.answers import refusal
from compute_router.sdk.errors import CoordinatorUnreachableError, SubmissionUnknownError
from compute_router.sdk.retries import Retries, retry_after_s
from compute_router.sdk.steps import Answered, Call, Flow, NotReached, Reply, call, pause

_NOT_NOW: Final = frozenset({429, 503})
_LOST_BEHIND_A_GATEWAY: Final = frozenset({502, 504})


class Outcome(Enum):
    """What is known about a job after it was sent."""

    DECIDED = "decided"
    NOT_TAKEN = "not taken"
    UNKNOWN = "unknown"


def outcome_of(reply: Reply) -> Outcome:
    """What a reply tells about the job.

    429 and 503 are said before anything is stored. 502 and 504 come from a gateway that sent the job on and
    got no answer.
    """
    if isinstance(reply, NotReached):
        return Outcome.UNKNOWN if reply.may_have_arrived else Outcome.NOT_TAKEN
    if reply.status in _NOT_NOW:
        return Outcome.NOT_TAKEN
    return Outcome.UNKNOWN if reply.status in _LOST_BEHIND_A_GATEWAY else Outcome.DECIDED


def commit(request: Call, retries: Retries, *, keys_are_kept: bool) -> Flow[Answered]:
    """Send a job until the coordinator decided about it. Every repeat is the same request, byte for byte.

    A job that was not taken is sent again to any coordinator. One whose outcome is unknown is sent again only
    when ``keys_are_kept``: a coordinator that ignores idempotency keys could run it twice.

    Raises:
        SubmissionUnknownError: the coordinator may or may not have the job.
        CoordinatorUnreachableError, CoordinatorFailedError: nothing that was sent here was taken.
    """
    lost: str | None = None
    while True:
        reply = yield from call(request)
        outcome = outcome_of(reply)
        if outcome is Outcome.DECIDED:
            assert isinstance(reply, Answered), "only an answer decides"
            return reply
        if outcome is Outcome.UNKNOWN:
            lost = _problem(reply)
        may_repeat = lost is None or keys_are_kept
        pause_s = retries.pause_s(_asked_pause_s(reply)) if may_repeat else None
        if pause_s is None:
            raise _unknown(request, lost, keys_are_kept) if lost is not None else _not_taken(reply)
        yield from pause(pause_s, str(_not_taken(reply)))


def _asked_pause_s(reply: Reply) -> float | None:
    return retry_after_s(reply) if isinstance(reply, Answered) else None


def _problem(reply: Reply) -> str:
    if isinstance(reply, NotReached):
        return reply.problem
    return f"a gateway answered with HTTP status {reply.status}."


def _not_taken(reply: Reply) -> ComputeRouterError:
    if isinstance(reply, NotReached):
        return CoordinatorUnreachableError(f"The coordinator cannot be reached: {reply.problem}")
    return refusal(reply)


def _unknown(request: Call, problem: str, keys_are_kept: bool) -> SubmissionUnknownError:
    sentence = f"The connection broke after the job was sent, so it may or may not run: {problem}"
    key = request.idempotency_key if keys_are_kept else None
    if key is not None:
        sentence += f" To get the same job and no second one, submit it again with idempotency key {key}."
    return SubmissionUnknownError(sentence, key)
