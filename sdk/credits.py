"""Credits: what is left of the payments of jobs that failed after the money moved.

The answer to a paid commit has a token that is worth nothing until its job is credited. It is kept in the
purse before anything else happens, so that whoever pays next finds it, also when this program is killed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from compute_router.protocol.credit_token import BadCreditTokenError, hash_credit_token
from compute_router.protocol.errors import ComputeRouterError, NotFoundError
from compute_router.protocol.http_api import CommitAnswer, PaymentAnswer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.answers import read_answer_about
from compute_router.sdk.errors import CoordinatorFailedError, CoordinatorUnreachableError, WalletError
from compute_router.sdk.purse_file import AwaitedJob, PurseFile
from compute_router.sdk.requests import is_job_id, job_call
from compute_router.sdk.retries import Retries
from compute_router.sdk.snapshots import JobSnapshot
from compute_router.sdk.steps import Answered, Flow, call, local

logger = logging.getLogger(__name__)

_CREATED: Final = 201
_JOBS_LOOKED_AT: Final = 3
_MOST_OWN: Final = 2000
_LARGEST_CREDIT: Final = 10**15

LONGEST_LIFE_S: Final = 3780.0
"""After so long no payment of any commit can be carried out any more."""

_LOOKED_AT_BY_US_S: Final = 60.0
"""So long a client looks at its own jobs only if it is asked to, because it is waiting for them anyway."""
_SOONEST_S: Final = 10.0
_LATEST_S: Final = 3600.0
_VOID_IS_CHECKED_S: Final = 3600.0
"""So long after the death of a payment that was let go, a coordinator may learn that it was carried out."""
_FORGOTTEN_S: Final = 24 * 3600.0
"""A coordinator that does not know a paid job at all may be one that is not itself for a while."""
_GIVEN_UP_S: Final = 30 * 24 * 3600.0


class Credits:
    """The paid jobs of one client and of the other programs that share its purse. Threads may share it."""

    def __init__(self, purse: PurseFile, request_timeout_s: float, now_s: Callable[[], float]) -> None:
        self._purse = purse
        self._request_timeout_s = request_timeout_s
        self._now_s = now_s
        self._lock = threading.Lock()
        # The purse may be one that cannot be written.
        self._own: dict[str, AwaitedJob] = {}
        self._waiting: set[str] = set()

    def committed(
        self, answer: Answered, amount: MicroUsd | None, dies_at: float | None, *, paid: bool
    ) -> Flow[None]:
        """Keep what the answer to a commit gives for the case that the job fails.

        ``amount`` is what was paid and ``dies_at`` until when that can be carried out; None if an earlier
        commit paid. Nothing happens for jobs that are free.
        """
        said = _taken(answer)
        token = None if said is None else _token(said.credit_token, said.job_id)
        if said is None or not (paid or token):
            return
        now = self._now_s()
        job = AwaitedJob(now, now, now + LONGEST_LIFE_S if dies_at is None else dies_at, token, amount)
        with self._lock:
            self._own.setdefault(said.job_id, job)
            self._waiting.add(said.job_id)
            for oldest in list(self._own)[:-_MOST_OWN]:
                del self._own[oldest]
                self._waiting.discard(oldest)
        yield from softly(partial(self._purse.await_job, said.job_id, job))

    def paid_for(self, job_id: str) -> bool:
        """Whether this client paid for a job whose end it has not seen yet."""
        with self._lock:
            return job_id in self._own

    def note(self, snapshot: JobSnapshot) -> Flow[None]:
        """Keep the credit that a job became, or take note that it may become one or will not."""
        payment = snapshot.answer.payment
        if snapshot.ended and isinstance(payment, PaymentAnswer):
            yield from softly(lambda: self._ended(snapshot, payment, self._now_s()))

    def look_again_at(self, job_id: str) -> Flow[None]:
        """Nobody waits for the end of a paid job any more: look for its credit before the next payment."""
        job_id, now = str(job_id), self._now_s()
        with self._lock:
            self._waiting.discard(job_id)
            known = self._own.get(job_id)
        job = AwaitedJob(now, now, now + LONGEST_LIFE_S) if known is None else known
        yield from softly(partial(self._purse.await_job, job_id, msgspec.structs.replace(job, look_at=now)))

    def collect(self, retries: Retries) -> Flow[None]:
        """Look at some of the jobs whose end nobody saw, as long as the call has time."""
        now = self._now_s()
        awaited = yield from local(self._purse.awaited)
        due = [each for each in awaited.items() if each[1].look_at <= now and not self._is_waited_for(*each)]
        for job_id, job in due[:_JOBS_LOOKED_AT]:
            if retries.remaining_s <= 0:
                return
            if not (yield from self._look_at(job_id, job, min(self._request_timeout_s, retries.remaining_s))):
                return

    def _look_at(self, job_id: str, job: AwaitedJob, timeout_s: float) -> Flow[bool]:
        """Look at one job. False: the coordinator does not answer at all."""
        if not is_job_id(job_id):
            yield from softly(partial(self._purse.decided, job_id))
            return True
        reply = yield from call(job_call(job_id, 0, timeout_s))
        try:
            snapshot = read_answer_about(reply, job_id)
        except ComputeRouterError as error:
            logger.info("job %s could not be looked at for its credit: %s", job_id, error.code)
            age_s = self._now_s() - job.since
            gone = age_s > (_FORGOTTEN_S if isinstance(error, NotFoundError) else _GIVEN_UP_S)
            yield from softly(partial(self._decided, job_id) if gone else partial(self._later, job_id, job))
            return not isinstance(error, CoordinatorUnreachableError | CoordinatorFailedError)
        payment = snapshot.answer.payment
        if snapshot.ended and isinstance(payment, PaymentAnswer):
            yield from softly(partial(self._ended, snapshot, payment))
        else:
            yield from softly(partial(self._later, job_id, job))
        return True

    def _is_waited_for(self, job_id: str, job: AwaitedJob) -> bool:
        with self._lock:
            return job_id in self._waiting and self._now_s() - job.since < _LOOKED_AT_BY_US_S

    def _ended(self, snapshot: JobSnapshot, payment: PaymentAnswer, look_at: float | None = None) -> None:
        """``look_at``: when to look again if that may help; None puts it off."""
        job_id, now = snapshot.job_id, self._now_s()
        with self._lock:
            known = self._own.get(job_id)
        known = known or self._purse.awaited().get(job_id)
        job = known or AwaitedJob(now, now, now + LONGEST_LIFE_S)
        if snapshot.status is JobStatus.COMPLETED:
            self._decided(job_id)
        elif payment.state is PaymentState.CREDITED:
            self._credited(job_id, job, payment)
        elif payment.state is not PaymentState.VOID:
            self._later(job_id, job, look_at)
        elif known is None or now >= job.dies_at + _VOID_IS_CHECKED_S:
            self._decided(job_id)
        else:
            # Whoever saw the payment can carry it out until it dies; then it is a credit after all.
            self._later(job_id, job, job.dies_at if now < job.dies_at else None)

    def _credited(self, job_id: str, job: AwaitedJob, payment: PaymentAnswer) -> None:
        token = job.token or _token(payment.credit_token, job_id)
        amount = min(payment.amount, _LARGEST_CREDIT if job.amount is None else job.amount)
        if token is None:
            logger.warning("job %s became a credit whose token is not here", job_id)
        if token is None or amount <= 0:
            self._decided(job_id)
            return
        self._purse.credited(job_id, token, MicroUsd(amount))
        self._forget(job_id)

    def _later(self, job_id: str, job: AwaitedJob, look_at: float | None = None) -> None:
        """Look again at a time, or the later the longer it has been."""
        if look_at is None:
            now = self._now_s()
            look_at = now + min(_LATEST_S, max(_SOONEST_S, (now - job.since) / 2))
        self._purse.await_job(job_id, msgspec.structs.replace(job, look_at=look_at))
        with self._lock:
            self._waiting.discard(job_id)

    def _decided(self, job_id: str) -> None:
        self._purse.decided(job_id)
        self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        with self._lock:
            self._own.pop(job_id, None)
            self._waiting.discard(job_id)


def softly(act: Callable[[], object]) -> Flow[None]:
    """Change the purse where the job's own outcome matters more than a purse that cannot be written."""
    try:
        yield from local(act)
    except WalletError as error:
        logger.warning("%s", error)


def _taken(answer: Answered) -> CommitAnswer | None:
    if answer.status != _CREATED:
        return None
    try:
        said = msgspec.json.decode(answer.body, type=CommitAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return said if is_job_id(said.job_id) else None


def _token(said: object, job_id: str) -> str | None:
    if not isinstance(said, str):
        return None
    try:
        hash_credit_token(said)
    except BadCreditTokenError:
        logger.warning("the token of job %s is none", job_id)
        return None
    return said
