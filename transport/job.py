"""``/v1/jobs/{id}``: how a job stands, and its cancelling.

With ``?wait=SECONDS`` the answer to GET comes when the job has ended.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import msgspec

from compute_router.actors.messages.job_store import GetJob
from compute_router.actors.messages.matcher import Cancel, IsLive
from compute_router.actors.messages.payment_gate import AwaitsPayment
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import (
    JobFinishedError,
    NotFoundError,
    PaymentInProgressError,
    RequestError,
    StorageUnavailableError,
    UnavailableError,
)
from compute_router.protocol.http_api import JobAnswer
from compute_router.protocol.job_state import UNFINISHED, JobStatus
from compute_router.protocol.receipts import attach_proof
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.storage.interface import ApiKey, JobView
from compute_router.transport.authentication import Authentication, only_user
from compute_router.transport.credit_tokens import CreditTokens, ShowToken
from compute_router.transport.http_types import Answer, Request, json_answer
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.paid_jobs import (
    awaits_payment,
    payment_answer,
    payment_ref,
    settlement_headers,
    shown_view,
)

MAX_WAIT_SECONDS: Final = 60.0
_CANCEL_SECONDS: Final = 10.0
_NULL: Final = msgspec.Raw(b"null")


class JobResource:
    """Who knows a job's id may read the job: ids cannot be guessed and are listed nowhere.

    Where API keys are needed, the job must also be one of the key's user; to others there is no such job.
    """

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

    async def get(self, request: Request, job_id: str) -> Answer:
        caller = self._authentication.caller(request)
        wait_seconds = _wait_seconds(request.query("wait"))
        view = await self._when_ended(job_id, wait_seconds, caller) if wait_seconds else None
        if view is None:
            view = await ask(self._system.store, GetJob(job_id))
        view = checked_view(view, only_user(caller))
        answer = json_answer(job_answer(view, self._tokens.shown_to(request, caller)))
        if view.payment is None:
            return answer
        return Answer(answer.status, answer.body, settlement_headers(view))

    async def delete(self, request: Request, job_id: str) -> Answer:
        caller = self._authentication.caller(request)
        whose = only_user(caller)
        ended = self._watch.watch(job_id)
        try:
            if await ask(self._system.matcher, Cancel(job_id, whose)):
                view = await self._watch.ended(ended, _CANCEL_SECONDS)
                if view is None:
                    view = await self._cancelled_unpaid(job_id, whose)
                if view.status is JobStatus.CANCELLED:
                    return json_answer(job_answer(view, self._tokens.shown_to(request, caller)))
        finally:
            self._watch.unwatch(job_id, ended)
        view = checked_view(await ask(self._system.store, GetJob(job_id)), whose)
        if view.status in UNFINISHED:
            # Between being stored and being known to the Matcher; a matter of microseconds.
            raise UnavailableError("The job is just being taken in; try again.")
        if awaits_payment(view):
            raise PaymentInProgressError("The job is done and its payment is being settled, so it stays.")
        raise JobFinishedError(f"The job is {shown_view(view).status.value} already.")

    async def _cancelled_unpaid(self, job_id: str, whose: str | None) -> JobView:
        """A job whose cancel was not told in time: what is stored of it, if that says how it ended.

        Raises:
            StorageUnavailableError: the cancel is not stored yet.
        """
        view = checked_view(await ask(self._system.store, GetJob(job_id)), whose)
        if view.status in UNFINISHED:
            raise StorageUnavailableError(
                "The cancel could not be stored yet; ask for the job to see what became of it."
            )
        # The end is durable. It is only not told because a settlement is under way, whose money, if it comes,
        # becomes a credit; the answer says that the payment is not decided.
        return view

    async def _when_ended(self, job_id: str, wait_seconds: float, caller: ApiKey | None) -> JobView | None:
        # The watch begins before the question, so that an end in between is not missed.
        ended = self._watch.watch(job_id)
        release = self._authentication.on_revoked(caller, partial(self._watch.release, ended))
        try:
            live = await ask(self._system.matcher, IsLive(job_id, only_user(caller)))
            if not live and self._system.payments is not None:
                live = await ask(self._system.gate, AwaitsPayment(job_id))
            view = await self._watch.ended(ended, wait_seconds if live else 0)
        finally:
            self._watch.unwatch(job_id, ended)
            release()
        self._authentication.recheck(caller)
        return view


def _wait_seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise RequestError(f"wait must be a number of seconds from 0 to {MAX_WAIT_SECONDS:.0f}.")
    return seconds


def checked_view(view: JobView | None, whose: str | None) -> JobView:
    """A job that was looked for, as one of the user ``whose``; None: of anybody.

    Raises:
        NotFoundError: there is none, or it is another user's, which is not told apart.
    """
    if view is None or whose not in (None, view.user_id):
        raise NotFoundError("There is no job with this id.")
    return view


def job_answer(view: JobView, show_token: ShowToken) -> JobAnswer:
    """A job as whoever asks sees it, result and receipt byte for byte; what is not paid for is withheld."""
    payment = view.payment
    if payment is not None:
        view = shown_view(view)
    receipt = view.receipt
    return JobAnswer(
        id=view.job_id,
        status=view.status,
        result=_NULL if view.result is None else msgspec.Raw(view.result),
        receipt=_NULL
        if receipt is None
        else msgspec.Raw(attach_proof(receipt.receipt_json, receipt.signature, verified=receipt.verified)),
        created_at=iso_from_unix_ms(view.created_at),
        completed_at=None if view.completed_at is None else iso_from_unix_ms(view.completed_at),
        payment=msgspec.UNSET if payment is None else payment_answer(payment, show_token(view)),
        payment_ref=payment_ref(view),
    )
