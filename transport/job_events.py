"""``GET /v1/jobs/{id}/events``: a job's steps as they happen, as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import msgspec

from compute_router.actors.messages.edge import Chunk, Progress
from compute_router.actors.messages.job_store import GetJob
from compute_router.actors.messages.matcher import Follow
from compute_router.actors.messages.payment_gate import AwaitsPayment
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import MethodNotAllowedError
from compute_router.storage.interface import JobView
from compute_router.transport.authentication import Authentication, only_user
from compute_router.transport.credit_tokens import CreditTokens, ShowToken
from compute_router.transport.http_types import Request, SlowReaderError, Stream
from compute_router.transport.job import checked_view, job_answer
from compute_router.transport.job_watch import Follower, JobWatch
from compute_router.transport.paid_jobs import awaits_payment

_KEEP_ALIVE_SECONDS: Final = 15.0
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_ENCODER: Final = msgspec.json.Encoder()


class JobEventsResource:
    """``status`` at each step, ``chunk`` for each piece of output, ``job`` with the whole job at its end."""

    def __init__(
        self,
        system: System,
        watch: JobWatch,
        authentication: Authentication,
        tokens: CreditTokens | None = None,
    ) -> None:
        self._system = system
        self._tokens = tokens or CreditTokens()
        self._authentication = authentication
        self._watch = watch

    async def get(self, request: Request, job_id: str) -> Stream:
        if request.method == "HEAD":
            raise MethodNotAllowedError("An event stream is served for GET only.", "GET")
        caller = self._authentication.caller(request)
        whose = only_user(caller)
        # Following begins before the question, so that no step in between is missed.
        follower = self._watch.follow(job_id)
        release = self._authentication.on_revoked(caller, follower.end)
        close = partial(self._close, job_id, follower, release)
        try:
            first: Progress | JobView | None = await ask(self._system.matcher, Follow(job_id, whose))
            if first is None:
                first = checked_view(await ask(self._system.store, GetJob(job_id)), whose)
                if await self._awaits_payment(first):
                    first = None
        except BaseException:
            close()
            raise
        show_token = self._tokens.shown_to(request, caller)
        return Stream("text/event-stream; charset=utf-8", _events(first, follower, show_token), close)

    async def _awaits_payment(self, view: JobView) -> bool:
        if self._system.payments is None or not awaits_payment(view):
            return False
        return bool(await ask(self._system.gate, AwaitsPayment(view.job_id)))

    def _close(self, job_id: str, follower: Follower, release: Callable[[], None]) -> None:
        self._watch.unfollow(job_id, follower)
        release()


async def _events(
    first: Progress | JobView | None, follower: Follower, show_token: ShowToken
) -> AsyncIterator[bytes]:
    """The steps from the first on; None: the job is done, and its payment is not decided yet."""
    step: Progress | Chunk | JobView | None = first
    waiting = first is None
    while step is not None or waiting:
        yield _KEEP_ALIVE if step is None else _event(step, show_token)
        waiting = False
        if isinstance(step, JobView):
            return
        while True:
            if follower.cut_off:
                raise SlowReaderError("This client reads its stream too slowly.")
            try:
                step = await follower.next(_KEEP_ALIVE_SECONDS)
                break
            except TimeoutError:
                yield _KEEP_ALIVE


def _event(step: Progress | Chunk | JobView, show_token: ShowToken) -> bytes:
    match step:
        case Progress(_, status, attempt):
            return _render(b"status", {"status": status, "attempt": attempt})
        case Chunk(_, attempt, seq, delta):
            return _render(b"chunk", {"attempt": attempt, "seq": seq, "delta": delta})
        case JobView():
            return _render(b"job", job_answer(step, show_token))


def _render(name: bytes, data: Any) -> bytes:
    # A worker's result may be JSON over several lines, each of which needs its own field.
    lines = _ENCODER.encode(data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"event: " + name + b"\n" + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
