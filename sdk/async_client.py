"""The asyncio client."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack, cast, overload

import httpx

from compute_router.protocol.api_keys import KeyInfo, KeyScope, NewKeyAnswer, RevokedKeyAnswer
from compute_router.protocol.http_api import HealthAnswer, Provider, TrustClaimAnswer, TrustRevokeAnswer
from compute_router.protocol.jobs import Policy, PrivacyClass
from compute_router.protocol.networks import Chain
from compute_router.protocol.payout_api import EarningsAnswer
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import async_io, http
from compute_router.sdk.answers import Quote, ReceiptDocument
from compute_router.sdk.api_keys import KeyLimits
from compute_router.sdk.core import ClientCore
from compute_router.sdk.fallback import Fallback
from compute_router.sdk.jobs import Job, JobTypeName, LlmJob, PolicyName, PrivacyName, TaskJob, TaskName
from compute_router.sdk.options import (
    RetryObserver,
    RunOptions,
    SealObserver,
    StatusObserver,
    SubmissionObserver,
    TaskOptions,
)
from compute_router.sdk.pairing import CODE_LIFETIME_S, PairingCode
from compute_router.sdk.results import (
    ClassificationResult,
    ExtractionResult,
    JobResult,
    LlmResult,
    SummaryResult,
    TaskResult,
)
from compute_router.sdk.retries import Clock, Jitter
from compute_router.sdk.rhythm import LONGEST_WAIT_S, PollRhythm
from compute_router.sdk.sealing import JobHandle
from compute_router.sdk.settings import resolve_settings
from compute_router.sdk.snapshots import JobSnapshot
from compute_router.sdk.spending import BeforePayment, Spending, SpendingCaps
from compute_router.sdk.steps import Call, Flow, Local, Reply, Step, Target
from compute_router.sdk.trust_file import TrustFile, open_trust_file
from compute_router.sdk.wallet import Wallet, open_wallet

T = TypeVar("T")


class AsyncComputeRouter:
    """Runs jobs on the network from asyncio code. Tasks of one event loop may share one client.

    Args:
        base_url: address of the coordinator; else ``COMPUTE_ROUTER_URL``, else the chain's local address.
        chain: ``"solana"`` or ``"monad"``. When given, a coordinator of another network is refused.
        user_id: for whom jobs run; else ``COMPUTE_ROUTER_USER_ID``. PRIVATE jobs and pairings need one.
        api_key: for a coordinator that wants one; else ``COMPUTE_ROUTER_API_KEY``. It is sent to the
            coordinator only, and never shown. An empty text means none, whatever the environment says.
        trust_file: where the user's token and the pinned worker keys are kept; else
            ``COMPUTE_ROUTER_TRUST_FILE``, else ``~/.config/compute-router/trust.json``.
        wallet: what jobs are paid from where they cost money: a :class:`Wallet`, or the file of one; else
            ``COMPUTE_ROUTER_WALLET``, a file, or ``COMPUTE_ROUTER_WALLET_KEY``, a key. An empty text means
            none. Credits of earlier jobs are spent first, and without a wallet too.
        spending: the most that one job may cost ($0.05 unless given), and that this client signs for ($1).
        before_payment: asked before each payment, on another thread than an event loop's; anything but True
            refuses.
        request_timeout_s: how long one request may go without an answer, long polls aside.
        require_verified: raise a ReceiptError in place of results whose receipt does not verify.
        fallback: where PUBLIC inference goes that the network could not serve.
        longest_wait_s: longest single long poll; 0 polls twice a second from the start.
        on_retry: told what failed, in a sentence, before each pause after which it is tried again.
        transport: httpx transport in place of the network.
        clock, sleep, jitter: time in seconds and random fractions, replaceable in tests.

    Raises:
        InvalidArgumentError: a setting cannot be used.
        WalletError: the wallet cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        chain: Chain | Literal["solana", "monad"] | None = None,
        user_id: str | None = None,
        api_key: str | None = None,
        trust_file: Path | TrustFile | None = None,
        wallet: Wallet | Path | str | None = None,
        spending: SpendingCaps | None = None,
        before_payment: BeforePayment | None = None,
        request_timeout_s: float = 10.0,
        require_verified: bool = False,
        fallback: Fallback | None = None,
        longest_wait_s: int = LONGEST_WAIT_S,
        on_retry: RetryObserver | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = time.monotonic,
        jitter: Jitter = random.random,
        sleep: async_io.Sleep = async_io.sleep,
    ) -> None:
        settings = resolve_settings(base_url, chain, user_id, api_key=api_key)
        self.base_url = settings.base_url
        self._on_retry = on_retry
        self._sleep = sleep
        self._core = ClientCore(
            settings,
            clock=clock,
            jitter=jitter,
            rhythm=PollRhythm(longest_wait_s),
            request_timeout_s=request_timeout_s,
            require_verified=require_verified,
            fallback=fallback,
            trust_file=open_trust_file(trust_file),
            wallet=open_wallet(wallet),
            spending=Spending(spending or SpendingCaps(), before_payment),
        )
        options = {Target.COORDINATOR: http.coordinator_options(settings.base_url, settings.api_key)}
        if fallback is not None:
            options[Target.FALLBACK] = http.fallback_options(fallback)
        with http.usable_environment():
            self._clients = {
                target: httpx.AsyncClient(transport=transport, **each) for target, each in options.items()
            }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    @property
    def spent(self) -> MicroUsd:
        """What this client signed for so far, in micro-USD. It counts, whatever became of the jobs."""
        return self._core.spent

    async def credits(self) -> list[MicroUsd]:
        """What is left of each credit at this coordinator, in micro-USD. They are spent before the wallet is.

        Raises:
            WalletError: the purse cannot be used.
        """
        return await self._run(self._core.credits())

    async def run_llm(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        model: str | None = None,
        policy: PolicyName = Policy.AUTO,
        privacy: PrivacyName = PrivacyClass.PUBLIC,
        sealed: bool = True,
        ttl_s: float | None = None,
        deadline_s: float | None = None,
        timeout_s: float = 60.0,
        idempotency_key: str | None = None,
        cancel_on_timeout: bool = False,
        on_status: StatusObserver | None = None,
        on_submitted: SubmissionObserver | None = None,
        on_sealed: SealObserver | None = None,
    ) -> LlmResult:
        """Generate text.

        Args:
            prompt: what to answer.
            max_tokens, model: None leaves them to the worker.
            policy, privacy: service level, and whether only the user's own workers may see the prompt.
            sealed: whether a PRIVATE job is encrypted to the user's pinned workers, and its result to this
                client, so that the coordinator can read neither.
            ttl_s, deadline_s: how long the job may wait for a worker, and how long it may run; None leaves
                them to the coordinator, which also bounds them.
            timeout_s: time for the whole call. Within it, a coordinator that is away or overloaded is tried
                again, with pauses that grow and those that it asks for.
            idempotency_key: names this submission, so that the same call made again within a day gives the
                same job, also from another process. Each call has a new one by itself.
            cancel_on_timeout: cancel a job that did not end in time. Otherwise it goes on, and is paid for
                if it is completed; before a fallback is asked, a paid job is cancelled all the same.
            on_status, on_submitted: told the job's status after every look, and its id once it has one.
            on_sealed: told the key to the result of a sealed job before the job is sent, so that it can be
                kept; what it raises stops the submission.

        Raises:
            JobFailedError: the job ended without a result.
            JobTimeoutError: it did not end in time; unless it was cancelled, it may still finish.
            NoTrustedWorkerError: it is PRIVATE and none of the user's workers is connected.
            NoPinnedWorkerError: it is to be sealed, and none of the user's workers is pinned on this machine.
            SealingError: it cannot be sealed, or its result was not sealed or cannot be opened.
            CoordinatorUnreachableError: the coordinator did not answer in time. As SubmissionUnknownError: it
                may have the job.
            CoordinatorFailedError: it could not serve in time.
            IdempotencyConflictError: the key was used for another job.
            PaymentRequiredError: the job costs money, and there is no wallet, or none of that chain.
            PriceMismatchError: it costs more than was quoted.
            UnacceptableOfferError: the coordinator wants another payment than this client makes.
            SpendingCapError: it costs more than ``spending`` allows.
            PaymentRefusedError: the coordinator did not take the payment, or ``before_payment`` said no.
            WalletError: the wallet cannot sign, or the file of credits cannot be used.
            RequestError: an argument or the job was refused.
            ReceiptError: with ``require_verified``, or of a sealed job, the receipt proves nothing.
            UnexpectedAnswerError: an answer had a shape that the protocol does not have.
            FallbackFailedError: neither the network nor the fallback could serve it.
        """
        job = LlmJob(prompt, max_tokens, model, policy, privacy, ttl_s, deadline_s, sealed)
        options = RunOptions(
            timeout_s, idempotency_key, cancel_on_timeout, on_status, on_submitted, on_sealed
        )
        return await self._run(self._core.run_llm(job, options))

    @overload
    async def run_task(
        self, task_type: Literal["summarize"], input: str, **options: Unpack[TaskOptions]
    ) -> SummaryResult: ...
    @overload
    async def run_task(
        self, task_type: Literal["classify"], input: str, **options: Unpack[TaskOptions]
    ) -> ClassificationResult: ...
    @overload
    async def run_task(
        self, task_type: Literal["extract_json"], input: str, **options: Unpack[TaskOptions]
    ) -> ExtractionResult: ...
    @overload
    async def run_task(
        self, task_type: TaskName, input: str, **options: Unpack[TaskOptions]
    ) -> TaskResult: ...
    async def run_task(
        self,
        task_type: TaskName,
        input: str,
        *,
        policy: PolicyName = Policy.AUTO,
        privacy: PrivacyName = PrivacyClass.PUBLIC,
        sealed: bool = True,
        ttl_s: float | None = None,
        deadline_s: float | None = None,
        timeout_s: float = 30.0,
        idempotency_key: str | None = None,
        cancel_on_timeout: bool = False,
        on_status: StatusObserver | None = None,
        on_submitted: SubmissionObserver | None = None,
        on_sealed: SealObserver | None = None,
    ) -> TaskResult:
        """Run a built-in task. Raises as :meth:`run_llm`; tasks never go to a fallback."""
        job = TaskJob(task_type, input, policy, privacy, ttl_s, deadline_s, sealed)
        options = RunOptions(
            timeout_s, idempotency_key, cancel_on_timeout, on_status, on_submitted, on_sealed
        )
        return await self._run(self._core.run_task(job, options))

    async def quote(self, job_type: JobTypeName, policy: PolicyName = Policy.AUTO) -> Quote:
        """Ask what a job costs."""
        return await self._run(self._core.quote(job_type, policy))

    async def submit(
        self,
        job: Job,
        *,
        idempotency_key: str | None = None,
        timeout_s: float = 30.0,
        on_sealed: SealObserver | None = None,
    ) -> JobHandle:
        """Submit a job and return its id without waiting for its end. Arguments as of :meth:`run_llm`.

        The id of a sealed job carries the key to its result: :meth:`result` wants that very object, or one
        made with ``JobHandle(job_id, reply_key)``.
        """
        return await self._run(self._core.submit(job, idempotency_key, timeout_s, on_sealed))

    async def result(
        self, job_id: str, timeout_s: float = 60.0, on_status: StatusObserver | None = None
    ) -> JobResult:
        """Wait for a submitted job. Raises as :meth:`run_llm`."""
        return await self._run(self._core.result(job_id, timeout_s, on_status))

    async def job(self, job_id: str) -> JobSnapshot:
        """Look at a job once, without waiting."""
        return await self._run(self._core.snapshot(job_id))

    async def receipt(self, job_id: str) -> ReceiptDocument:
        """Get the receipt of a completed job, countersigned but not checked: see the command ``verify``.

        Raises:
            NotFoundError: the coordinator does not know the job.
            JobUnfinishedError: it is not completed.
        """
        return await self._run(self._core.receipt(job_id))

    async def cancel(self, job_id: str, timeout_s: float = 10.0) -> JobSnapshot:
        """Cancel a job and return it as cancelled, also when it was cancelled before.

        Raises:
            JobFinishedError: it ended before; the error carries it.
            NotFoundError: the coordinator does not know it.
            CoordinatorUnreachableError, CoordinatorFailedError: the coordinator did not serve in time.
        """
        return await self._run(self._core.cancel(job_id, timeout_s))

    async def health(self) -> HealthAnswer:
        """Ask how the coordinator is, and how many workers it has."""
        return await self._run(self._core.health())

    async def earnings(self, pubkey: str) -> EarningsAnswer:
        """Ask what a worker earned, what of it was paid out, and by which payouts.

        Raises:
            InvalidArgumentError: ``pubkey`` is not 64 hex digits.
        """
        return await self._run(self._core.earnings(pubkey))

    async def create_pairing(self) -> PairingCode:
        """Make a single-use code by which a worker becomes one of this user's own.

        The first code makes this client the user's owner, by a token that is kept in the trust file and sent
        with later ones. Nobody without that file can pair workers with the user.

        Raises:
            TokenMissingError, WrongTokenError: the user is owned, and not by what is in the trust file.
            TrustFileError: the trust file cannot be used.
        """
        return await self._run(self._core.pairings.create())

    async def await_pairing(
        self,
        code: PairingCode,
        *,
        timeout_s: float = CODE_LIFETIME_S,
        fingerprint: str | None = None,
        allow_unsigned: bool = False,
    ) -> Provider:
        """Wait until a new worker used a pairing code, and pin its key, so that jobs are sealed to it.

        Args:
            code: what :meth:`create_pairing` returned.
            timeout_s: how long to wait.
            fingerprint: what the worker printed when it paired. Without it the coordinator is believed about
                whose key it is.
            allow_unsigned: pin, without a fingerprint, also a key that did not sign for the code, as with
                workers of other makes. Whoever saw the code could have named that key.

        Raises:
            PairingTimeoutError: no new worker came.
            FingerprintMismatchError: the key is another; it is not pinned.
            UnsignedClaimError: it did not sign for the code; it is not pinned.
        """
        flow = self._core.pairings.wait_for(code, timeout_s, fingerprint, allow_unsigned=allow_unsigned)
        return await self._run(flow)

    async def claim_pairing(self, pairing_code: str, provider_pubkey: str) -> TrustClaimAnswer:
        """Pair a worker by its public key with the user who made the code."""
        return await self._run(self._core.pairings.claim(pairing_code, provider_pubkey))

    async def list_providers(self) -> list[Provider]:
        """The workers that are paired with this user, by the coordinator's word."""
        return await self._run(self._core.pairings.list())

    async def pinned_providers(self) -> tuple[str, ...]:
        """The worker keys that are pinned for this user on this machine."""
        return await self._run(self._core.pairings.pinned())

    async def pin_provider(self, pubkey: str) -> None:
        """Pin a worker key that was compared with what the worker itself shows."""
        await self._run(self._core.pairings.pin(pubkey))

    async def unpin_provider(self, pubkey: str) -> bool:
        """Seal nothing to a key any more; False if it was not pinned. The pairing itself stays."""
        return await self._run(self._core.pairings.unpin(pubkey))

    async def revoke_provider(self, pubkey: str) -> TrustRevokeAnswer:
        """Unpin a key and end the pairing: the worker gets no more PRIVATE jobs of this user.

        Raises:
            NotFoundError: the user is not paired with this worker.
            TokenMissingError, WrongTokenError: the user is not owned by what is in the trust file.
        """
        return await self._run(self._core.pairings.revoke(pubkey))

    async def create_api_key(
        self,
        *,
        user_id: str | None = None,
        scope: KeyScope | Literal["user", "admin"] = KeyScope.USER,
        name: str = "",
        limits: KeyLimits | None = None,
    ) -> NewKeyAnswer:
        """Make an API key for a user, or an admin key. Like the next two, this needs an admin key.

        The answer is the only place where the new key is ever shown.

        Raises:
            AuthenticationError, PermissionDeniedError: this client has no admin key.
        """
        return await self._run(self._core.create_api_key(scope, user_id, name, limits))

    async def list_api_keys(self) -> list[KeyInfo]:
        """All API keys, oldest first, with those that were revoked."""
        return await self._run(self._core.list_api_keys())

    async def revoke_api_key(self, key_id: str) -> RevokedKeyAnswer:
        """Revoke an API key by its id; it stops working at once.

        Raises:
            NotFoundError: there is no such key.
        """
        return await self._run(self._core.revoke_api_key(key_id))

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Reply | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                return cast("T", end.value)
            outcome = await self._carry_out(step)

    async def _carry_out(self, step: Step) -> Reply | None:
        if isinstance(step, Call):
            return await self._ask(step)
        if isinstance(step, Local):
            await async_io.use_files(step.run)
        else:
            if step.because is not None and self._on_retry is not None:
                self._on_retry(step.because)
            await self._sleep(step.seconds)
        return None

    async def _ask(self, request: Call) -> Reply:
        try:
            response = await self._clients[request.target].request(**http.request_options(request))
        except httpx.RequestError as error:
            return http.not_reached(error)
        return http.answered(response)
