"""The client's logic, written once for the blocking and the asyncio client. It does no input or output."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyInfo, KeyScope, NewKeyAnswer, RevokedKeyAnswer
from compute_router.protocol.errors import ComputeRouterError, IdempotencyConflictError
from compute_router.protocol.http_api import (
    CommitAnswer,
    HealthAnswer,
    TrustListAnswer,
)
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, Policy, PrivacyClass, TaskType
from compute_router.protocol.payout_api import EarningsAnswer
from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import api_keys, earnings
from compute_router.sdk.answers import (
    Quote,
    ReceiptDocument,
    read_answer,
    read_answer_about,
    read_health,
    read_quote,
    read_receipt,
)
from compute_router.sdk.api_keys import KeyLimits
from compute_router.sdk.asking import ask
from compute_router.sdk.cancelling import cancel_job, give_up
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    InvalidArgumentError,
    JobFinishedError,
    JobTimeoutError,
    UnexpectedAnswerError,
    WrongNetworkError,
)
from compute_router.sdk.fallback import Fallback, fallback_call, is_hosted, may_fall_back, read_completion
from compute_router.sdk.idempotency import checked_key, supports_keys
from compute_router.sdk.jobs import CheckedJob, Job, LlmJob, TaskJob, check_job, known_value
from compute_router.sdk.options import RunOptions, SealObserver, StatusObserver
from compute_router.sdk.pairing import Pairings
from compute_router.sdk.paying import Order, Payer
from compute_router.sdk.purse_file import PurseFile
from compute_router.sdk.requests import (
    commit_call,
    health_call,
    is_job_id,
    job_call,
    quote_call,
    receipt_call,
    trust_list_call,
)
from compute_router.sdk.results import JobResult, LlmResult, TaskResult
from compute_router.sdk.retries import Clock, Jitter, Retries
from compute_router.sdk.rhythm import PollRhythm
from compute_router.sdk.sealing import (
    SEALED_ELSEWHERE,
    JobHandle,
    Pins,
    ReplyKey,
    SealedJob,
    SealedJobs,
    choose_recipients,
    open_answer,
    refuse_sealed,
    require_sealing,
    seal_job,
    wants_seal,
)
from compute_router.sdk.settings import ANONYMOUS, PURSE_NAME, Settings
from compute_router.sdk.snapshots import JobSnapshot, job_failure
from compute_router.sdk.spending import Spending, SpendingCaps
from compute_router.sdk.steps import Flow, Reply, call, local
from compute_router.sdk.trust_file import TrustFile
from compute_router.sdk.waiting import wait_for_end
from compute_router.sdk.wallet import Wallet

_LATE_AND_PAID: Final = (
    "It may still finish, and is paid for if it does: ask for its result later, or cancel it."
)


class Submission(msgspec.Struct, frozen=True):
    """A job that the coordinator took, and the price it was quoted. ``paid``: where jobs are paid for."""

    job_id: JobHandle
    price: MicroUsd
    paid: bool


class ClientCore:
    """Flows for everything a seeker can do. One per client: it remembers how the coordinator answers."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        jitter: Jitter,
        rhythm: PollRhythm,
        request_timeout_s: float,
        require_verified: bool,
        fallback: Fallback | None,
        trust_file: TrustFile,
        wallet: Wallet | None = None,
        spending: Spending | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._rhythm = rhythm
        self._request_timeout_s = request_timeout_s
        self._require_verified = require_verified
        self._fallback = fallback
        self._pins: Pins = trust_file
        self._pairings = Pairings(
            settings, trust_file, self._named_user, self._retries, clock, request_timeout_s
        )
        self._sealed = SealedJobs()
        self._payer = Payer(
            wallet=wallet,
            spending=spending or Spending(SpendingCaps(), None),
            purse=PurseFile(trust_file.path.with_name(PURSE_NAME), settings.base_url, time.time),
            request_timeout_s=request_timeout_s,
            now_s=time.time,
        )

    def health(self) -> Flow[HealthAnswer]:
        """Ask how the coordinator is."""
        reply = yield from call(health_call(self._request_timeout_s))
        return read_health(reply)

    def earnings(self, pubkey: str) -> Flow[EarningsAnswer]:
        """Ask what a worker earned."""
        return earnings.earnings(pubkey, self._request_timeout_s)

    def quote(self, job_type: JobType | str, policy: Policy | str) -> Flow[Quote]:
        """Ask for a price once. The coordinator must be one of the chain that was asked for."""
        kind = known_value(JobType, job_type, "job type")
        request = quote_call(kind, known_value(Policy, policy, "policy"), self._request_timeout_s)
        return self._checked_quote((yield from call(request)))

    def submit(
        self,
        job: Job,
        idempotency_key: str | None,
        timeout_s: float,
        on_sealed: SealObserver | None = None,
    ) -> Flow[JobHandle]:
        """Get a quote and commit a job to the endpoint it names; gives the job's id."""
        retries = self._retries(timeout_s)
        submission = yield from self._submit(check_job(job), idempotency_key, retries, on_sealed)
        return submission.job_id

    def snapshot(self, job_id: str) -> Flow[JobSnapshot]:
        """Look at a job once."""
        reply = yield from call(job_call(job_id, 0, self._request_timeout_s))
        snapshot = read_answer_about(reply, job_id)
        yield from self._payer.credits.note(snapshot)
        return snapshot

    def receipt(self, job_id: str) -> Flow[ReceiptDocument]:
        """Get the receipt of a completed job, countersigned."""
        reply = yield from call(receipt_call(job_id, self._request_timeout_s))
        return read_receipt(reply, job_id)

    def cancel(self, job_id: str, timeout_s: float) -> Flow[JobSnapshot]:
        """Cancel a job."""
        try:
            snapshot = yield from cancel_job(job_id, self._retries(timeout_s), self._request_timeout_s)
        except JobFinishedError as finished:
            yield from self._payer.credits.note(finished.snapshot)
            raise
        yield from self._payer.credits.note(snapshot)
        return snapshot

    def result(self, job_id: str, timeout_s: float, observe: StatusObserver | None) -> Flow[JobResult]:
        """Wait for a job's end, and check its receipt. Opens a sealed result if given the job's handle."""
        snapshot = yield from self._wait(job_id, timeout_s, self._retries(timeout_s), observe)
        yield from self._payer.credits.note(snapshot)
        return self._result(snapshot, None, job_id.reply_key if isinstance(job_id, JobHandle) else None)

    def run_llm(self, job: LlmJob, options: RunOptions) -> Flow[LlmResult]:
        """Run inference on the network, or on the fallback when that is allowed and the network could not."""
        checked = check_job(job)
        try:
            result = yield from self._run(checked, options, replaced=self._fallback is not None)
        except ComputeRouterError as error:
            if self._fallback is None or not may_fall_back(checked, error):
                raise
            reply = yield from call(fallback_call(self._fallback, checked))
            return read_completion(reply, error)
        return result.as_llm()

    def run_task(self, job: TaskJob, options: RunOptions) -> Flow[TaskResult]:
        """Run a task on the network."""
        result = yield from self._run(check_job(job), options)
        return result.as_task(known_value(TaskType, job.task_type, "task type"))

    @property
    def spent(self) -> MicroUsd:
        """What this client signed for so far."""
        return self._payer.spending.spent

    def credits(self) -> Flow[list[MicroUsd]]:
        """What is left of each credit at this coordinator."""
        return local(self._payer.purse.credits)

    @property
    def pairings(self) -> Pairings:
        """Everything about the workers of this client's user."""
        return self._pairings

    def create_api_key(
        self, scope: KeyScope | str, user_id: str | None, name: str, limits: KeyLimits | None
    ) -> Flow[NewKeyAnswer]:
        """Make an API key."""
        wanted = api_keys.checked_key_request(scope, user_id, name, limits)
        return (yield from api_keys.create_key(wanted, self._request_timeout_s))

    def list_api_keys(self) -> Flow[list[KeyInfo]]:
        """All API keys."""
        return api_keys.list_keys(self._request_timeout_s)

    def revoke_api_key(self, key_id: str) -> Flow[RevokedKeyAnswer]:
        """Revoke an API key."""
        return api_keys.revoke_key(key_id, self._request_timeout_s)

    def _run(self, job: CheckedJob, options: RunOptions, *, replaced: bool = False) -> Flow[JobResult]:
        """Run a job. ``replaced``: if it is late, a fallback answers, and nobody wants its result."""
        retries = self._retries(options.timeout_s)
        submission = yield from self._submit(job, options.idempotency_key, retries, options.on_sealed)
        if options.on_submitted is not None:
            options.on_submitted(submission.job_id)
        try:
            snapshot = yield from self._wait(submission.job_id, options.timeout_s, retries, options.on_status)
        except (JobTimeoutError, CoordinatorUnreachableError, CoordinatorFailedError) as late:
            job_id = submission.job_id
            if submission.paid:
                yield from self._payer.credits.look_again_at(job_id)
            if not options.cancel_on_timeout and not (replaced and submission.paid and is_hosted(job)):
                if submission.paid and isinstance(late, JobTimeoutError):
                    raise JobTimeoutError(job_id, options.timeout_s, _LATE_AND_PAID) from None
                raise
            # The call's time is over, so this is asked once.
            snapshot = yield from give_up(
                job_id,
                late,
                options.timeout_s,
                self._retries(0),
                self._request_timeout_s,
                self._payer.credits.note,
            )
        yield from self._payer.credits.note(snapshot)
        # As the submission sent it: the same encoder writes the same value alike.
        request_hash = sha256_hex(msgspec.json.encode(job.payload))
        return self._result(snapshot, submission.price, submission.job_id.reply_key, request_hash)

    def _submit(
        self,
        job: CheckedJob,
        idempotency_key: str | None,
        retries: Retries,
        on_sealed: SealObserver | None,
    ) -> Flow[Submission]:
        key = checked_key(idempotency_key)
        user_id = self._named_user() if job.privacy is PrivacyClass.PRIVATE else self._user_or_anonymous()
        offer = yield from ask(quote_call(job.job_type, job.policy, self._request_timeout_s), retries)
        quote = self._checked_quote(offer)
        retries.succeeded()
        sealed = None
        if wants_seal(job):
            require_sealing(offer)
            sealed = yield from self._seal(job, quote.network, user_id, key, retries)
            if on_sealed is not None:
                on_sealed(sealed.reply_key)
        payload = sealed.payload if sealed else None
        request = commit_call(quote.endpoint, job, user_id, self._request_timeout_s, key, payload)
        # The quote just given is the newest word on this: the coordinator behind an address can change.
        order = Order(
            request,
            quote,
            job.job_type,
            named=idempotency_key is not None,
            keys_are_kept=supports_keys(offer),
        )
        answer = yield from self._payer.commit(order, retries)
        retries.succeeded()
        try:
            job_id = read_answer(answer, CommitAnswer, expected_status=201).job_id
        except IdempotencyConflictError as error:
            if sealed is None:
                raise
            raise IdempotencyConflictError(f"{error} {SEALED_ELSEWHERE}") from None
        if not is_job_id(job_id):
            raise UnexpectedAnswerError("The coordinator took the job and named an id that is none.")
        handle = JobHandle(job_id, sealed.reply_key if sealed else None)
        paid = quote.signed_quote is not None or self._payer.credits.paid_for(job_id)
        return Submission(handle, quote.price, paid)

    def _seal(
        self, job: CheckedJob, network: str, user_id: str, key: str, retries: Retries
    ) -> Flow[SealedJob]:
        """Seal a job to the user's workers, or find how it was sealed under this key before."""
        sealed = self._sealed.find(key, job, network, user_id)
        if sealed is None:
            answer = yield from ask(trust_list_call(user_id, self._request_timeout_s), retries)
            retries.succeeded()
            listed = read_answer(answer, TrustListAnswer).providers
            pinned = yield from local(lambda: self._pins.pinned(network, user_id))
            recipients = choose_recipients(listed, pinned, user_id)
            sealed = seal_job(job, network, user_id, recipients)
        return self._sealed.keep(key, job, network, user_id, sealed)

    def _wait(
        self, job_id: str, timeout_s: float, retries: Retries, observe: StatusObserver | None
    ) -> Flow[JobSnapshot]:
        return wait_for_end(
            job_id,
            timeout_s,
            retries=retries,
            clock=self._clock,
            rhythm=self._rhythm,
            request_timeout_s=self._request_timeout_s,
            observe=observe,
        )

    def _result(
        self,
        snapshot: JobSnapshot,
        price: MicroUsd | None,
        reply_key: ReplyKey | None,
        request_hash: str | None = None,
    ) -> JobResult:
        if snapshot.status is not JobStatus.COMPLETED:
            raise job_failure(snapshot)
        if reply_key is not None:
            output_json, verification = open_answer(snapshot.answer, reply_key)
        else:
            refuse_sealed(snapshot.answer)
            output_json, verification = snapshot.result_json, snapshot.verify(request_hash)
        if self._require_verified and verification.error is not None:
            raise verification.error
        return JobResult(
            source="network",
            job_id=snapshot.job_id,
            receipt=verification.receipt,
            verified=verification.verified,
            verification_error=str(verification.error) if verification.error else None,
            price=price,
            created_at=snapshot.answer.created_at,
            completed_at=snapshot.answer.completed_at,
            sealed=reply_key is not None,
            payment=snapshot.payment,
            output_json=output_json,
        )

    def _checked_quote(self, reply: Reply) -> Quote:
        quote = read_quote(reply)
        expected = self._settings.expected_network
        if expected is not None and quote.network != expected:
            raise WrongNetworkError(
                f"The coordinator at {self._settings.base_url} serves {quote.network}, not {expected}."
            )
        return quote

    def _retries(self, timeout_s: float) -> Retries:
        return Retries(self._clock() + timeout_s, self._clock, self._jitter)

    def _user_or_anonymous(self) -> str:
        return self._settings.user_id or ANONYMOUS

    def _named_user(self) -> str:
        if self._settings.user_id is None:
            raise InvalidArgumentError(
                "PRIVATE jobs and pairings belong to a user: give a user id, or set COMPUTE_ROUTER_USER_ID."
            )
        return self._settings.user_id
