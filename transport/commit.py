"""``POST /v1/jobs/commit/{tier}``: take a job in. The answer is given when the job is on disk."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import msgspec

from compute_router.actors.admission import Refusal
from compute_router.actors.messages.job_store import (
    CreditUsedUp,
    FindReplay,
    GetJob,
    InsertJob,
    PaymentUsed,
    QuotaUsedUp,
    RecordFailed,
)
from compute_router.actors.messages.matcher import CanServe, GiveBack, Reserve, Submit
from compute_router.actors.messages.payment_gate import Admit
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.stored_trust import ListPairings
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import (
    ComputeRouterError,
    DrainingError,
    IdempotencyConflictError,
    JobsAtOnceError,
    NotFoundError,
    NoTrustedWorkerError,
    PaymentRequiredError,
    QueueFullError,
    RequestError,
    StorageUnavailableError,
    TooMuchUnsettledError,
    UserQueueFullError,
)
from compute_router.protocol.failures import FailedResult, Failure, failed_result
from compute_router.protocol.http_api import CommitAnswer, CommitRequest
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import (
    JobType,
    LlmInferPayload,
    PrivacyClass,
    TaskPayload,
    Tier,
)
from compute_router.protocol.sealing import SealedPayload, decode_any_payload
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import ApiKey, IdempotencyKey, NewJob, Replay
from compute_router.transport.authentication import Authentication, check_user
from compute_router.transport.http_types import Answer, Request, decode_json, json_answer
from compute_router.transport.idempotency import HEADER, idempotency_key
from compute_router.transport.key_limits import JobRates, day_quota, day_used_up
from compute_router.transport.quote import KEYS_SUPPORTED
from compute_router.transport.repeated_keys import refuse_repeated_keys

if TYPE_CHECKING:
    from compute_router.transport.payments.checkout import Checkout

_COMMITS: Final = msgspec.json.Decoder(CommitRequest)
_FAILURES: Final = msgspec.json.Decoder(FailedResult)
_NO_TRUSTED_WORKER: Final = failed_result(Failure.NO_TRUSTED_WORKER, refused=True)
_TIERS: Final = {tier.value.lower(): tier for tier in Tier}


class _Stored(msgspec.Struct, frozen=True):
    """A job that was stored just now, and its user's trusted keys."""

    trusted: tuple[str, ...]
    credit_token: str | msgspec.UnsetType = msgspec.UNSET


T = TypeVar("T")


def _stored(
    answer: tuple[str, ...] | T, credit_token: str | msgspec.UnsetType = msgspec.UNSET
) -> _Stored | T:
    """The store's answer to a commit, with what whoever committed is told."""
    return _Stored(answer, credit_token) if isinstance(answer, tuple) else answer


class CommitResource:
    """Checks a job whole, and that there is room for it, before anything is stored."""

    def __init__(
        self, system: System, authentication: Authentication, checkout: Checkout | None = None
    ) -> None:
        self._system = system
        self._authentication = authentication
        self._checkout = checkout
        self._rates = JobRates(system.clock.steady_ms)

    async def post(self, request: Request, variable: str) -> Answer:
        try:
            tier = _TIERS[variable]
        except KeyError:
            raise NotFoundError("Jobs are committed at /v1/jobs/commit/fast or /cheap.") from None
        caller = self._authentication.caller(request)
        job = self._read(request, tier)
        check_user(caller, job.user_id)
        key = idempotency_key(request, tier)
        await ask(self._system.gate, Admit(job.tier, job.job_type))
        if caller is None:
            stored = await self._store(request, job, key)
        else:
            stored = await self._store_for(caller, request, job, key)
        if isinstance(stored, Replay):
            answer = await self._replay(stored)
        else:
            await self._submit(job, stored.trusted)
            answer = CommitAnswer(job.job_id, stored.credit_token)
        headers = (KEYS_SUPPORTED, (HEADER, key.key)) if key else (KEYS_SUPPORTED,)
        return Answer(201, json_answer(answer).body, headers)

    async def _store_for(
        self, caller: ApiKey, request: Request, job: NewJob, key: IdempotencyKey | None
    ) -> _Stored | Replay:
        """As :meth:`_store`, within the limits of an API key. Only what makes a job uses them up."""
        self._rates.take(caller)
        stored: _Stored | Replay | None = None
        try:
            stored = await self._store(request, job, key, caller)
        finally:
            if not isinstance(stored, _Stored):
                self._rates.give_back(caller)
        return stored

    async def _store(
        self, request: Request, job: NewJob, key: IdempotencyKey | None, caller: ApiKey | None = None
    ) -> _Stored | Replay:
        """Store a job, if there is room; or find the earlier commit with this key."""
        at_once, quota = (caller.jobs_at_once, day_quota(caller, job.created_at)) if caller else (None, None)
        refusal = await ask(self._system.matcher, Reserve(job.user_id, at_once))
        if refusal is not None:
            # A repeated commit needs no room: its job is there already.
            replay = await ask(self._system.store, FindReplay(job.user_id, key)) if key else None
            if isinstance(replay, Replay):
                return replay
            raise _refused(refusal)
        stored: _Stored | Replay | QuotaUsedUp | None = None
        try:
            if self._checkout is None:
                stored = _stored(await ask(self._system.store, InsertJob(job, key, quota)))
            else:
                stored = await self._store_paid(self._checkout, request, InsertJob(job, key, quota))
        finally:
            if not isinstance(stored, _Stored):
                self._system.matcher.tell(GiveBack(job.user_id))
        if isinstance(stored, QuotaUsedUp):
            assert caller is not None, "only keys have quotas"
            raise day_used_up(caller, job.created_at)
        assert stored is not None, "it was stored, or an error was raised"
        return stored

    async def _store_paid(
        self, checkout: Checkout, request: Request, insert: InsertJob
    ) -> _Stored | Replay | QuotaUsedUp:
        """Store a job together with its payment, once that is found good."""
        job, key = insert.job, insert.key
        # A commit is repeated with the same payment, which is not good for a second job.
        replay = await ask(self._system.store, FindReplay(job.user_id, key)) if key else None
        if isinstance(replay, Replay):
            return replay
        if job.privacy_class is PrivacyClass.PRIVATE:
            await self._check_trusted(job)
        try:
            payment = await checkout.payment(request, job, key)
        except (PaymentRequiredError, TooMuchUnsettledError) as error:
            # This very commit may have come twice at once, and the other may have been stored meanwhile.
            if key is None or type(error) is PaymentRequiredError:
                raise
            replay = await ask(self._system.store, FindReplay(job.user_id, key))
            if not isinstance(replay, Replay):
                raise
            return replay
        stored: _Stored | Replay | QuotaUsedUp | PaymentUsed | CreditUsedUp | None = None
        try:
            paid = msgspec.structs.replace(insert, payment=payment)
            stored = _stored(await ask(self._system.store, paid), checkout.tokens.given(payment.payment_id))
        finally:
            if not isinstance(stored, _Stored):
                checkout.drop(job.job_id)
        if isinstance(stored, PaymentUsed):
            raise await checkout.used(request, job)
        if isinstance(stored, CreditUsedUp):
            raise await checkout.credit_used_up(request, job)
        if isinstance(stored, _Stored):
            checkout.stored(job, payment)
        assert stored is not None, "it was stored, or an error was raised"
        return stored

    async def _check_trusted(self, job: NewJob) -> None:
        """Nobody pays for a commit that is then refused."""
        pairings = await ask(self._system.store, ListPairings(job.user_id))
        trusted = tuple(pairing.provider_pubkey for pairing in pairings)
        if not await ask(self._system.matcher, CanServe(job, trusted)):
            # As for a free job, there is one that failed. Its key is free for a commit that is paid. It is
            # never stored unfinished, or a restart would have it done without a payment.
            await ask(self._system.store, InsertJob(job, refused=_NO_TRUSTED_WORKER))
            raise _no_trusted_worker(job.job_id)

    async def _submit(self, job: NewJob, trusted: tuple[str, ...]) -> None:
        submit = Submit(job, trusted)
        if job.privacy_class is PrivacyClass.PUBLIC:
            self._system.matcher.tell(submit)
        elif not await ask(self._system.matcher, submit):
            await self._refuse(job)

    async def _refuse(self, job: NewJob) -> NoReturn:
        """End a stored job that no trusted worker can run."""
        failed = RecordFailed(job.job_id, 0, _NO_TRUSTED_WORKER)
        try:
            ended = await ask(self._system.store, failed)
        except StorageUnavailableError:
            # A repeated commit will be answered with this job, so its end must be stored all the same:
            # what the store is told, and not asked, it tries until it succeeds.
            self._system.store.tell(StoreRequest(failed, self._system.matcher))
            raise
        if self._checkout is not None:
            self._checkout.ended(ended)
        raise _no_trusted_worker(job.job_id)

    async def _replay(self, replay: Replay) -> CommitAnswer:
        """The job of an earlier commit with this key, answered as the earlier commit was."""
        if not replay.same_request:
            raise IdempotencyConflictError(f"This {HEADER} was used for another request.")
        view = await ask(self._system.store, GetJob(replay.job_id))
        if view is not None and view.status is JobStatus.FAILED and _FAILURES.decode(view.result).refused:
            raise _no_trusted_worker(replay.job_id)
        if self._checkout is None or view is None or view.payment is None:
            return CommitAnswer(replay.job_id)
        return CommitAnswer(replay.job_id, self._checkout.tokens.given(view.payment.payment_id))

    def _read(self, request: Request, tier: Tier) -> NewJob:
        body = request.json(_COMMITS.decode)
        raw = bytes(body.payload)
        refuse_repeated_keys(request.body, raw)
        payload = decode_json(raw, partial(decode_any_payload, body.job_type), "payload: ")
        recipients = payload.recipients if isinstance(payload, SealedPayload) else None
        if recipients is not None and body.privacy_class is not PrivacyClass.PRIVATE:
            raise RequestError("A sealed payload belongs to a PRIVATE job.")
        if body.model is not None and body.job_type is not JobType.LLM_INFER:
            raise RequestError("model can only be chosen for LLM_INFER jobs.")
        policy = self._system.policy
        window = _bounded("ttl_s", body.ttl_s, policy.max_queue_window) or policy.queue_window
        now = self._system.clock.unix_ms()
        return NewJob(
            job_id=str(uuid.uuid4()),
            job_type=body.job_type,
            tier=tier,
            privacy_class=body.privacy_class,
            user_id=body.user_id,
            payload=raw,
            model=body.model,
            created_at=now,
            queue_deadline=UnixMs(now + window),
            queue_window=window,
            lease=policy.lease(body.job_type, _max_tokens(payload)),
            run_limit=_bounded("deadline_s", body.deadline_s, policy.run_limit),
            recipients=recipients,
        )


def _max_tokens(payload: LlmInferPayload | TaskPayload | SealedPayload) -> int | None:
    return None if isinstance(payload, TaskPayload) else payload.max_tokens


def _bounded(name: str, seconds: float | None, most: DurationMs) -> DurationMs | None:
    if seconds is None:
        return None
    duration = DurationMs(max(round(seconds * 1000), 1))
    if duration > most:
        raise RequestError(f"{name} may be at most {most / 1000:g} seconds here.")
    return duration


def _refused(refusal: Refusal) -> ComputeRouterError:
    match refusal:
        case Refusal.DRAINING:
            return DrainingError("This coordinator is about to stop; try again in a moment.")
        case Refusal.KEY_QUEUE_FULL:
            return JobsAtOnceError("This API key allows no more unfinished jobs; wait for some to end.")
        case Refusal.USER_QUEUE_FULL:
            return UserQueueFullError("This user has too many unfinished jobs; wait for some to end.")
        case Refusal.QUEUE_FULL:
            return QueueFullError("The coordinator has too many unfinished jobs; try again in a moment.")


def _no_trusted_worker(job_id: str) -> NoTrustedWorkerError:
    return NoTrustedWorkerError(
        "None of the workers paired with this user is connected and able to run the job.", job_id
    )
