"""The worker's side of the conversation with a coordinator, without sockets, threads or clocks.

Events go in, effects come out, and the same events always give the same effects. The caller brings
:class:`Tick` when ``wake_at`` is reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAME_TYPES,
    COORDINATOR_FRAMES,
    Challenge,
    CoordinatorFrame,
    ErrorFrame,
    Frame,
    Heartbeat,
    HeartbeatAck,
    HeldJob,
    JobAck,
    JobAssign,
    JobReject,
    JobStarted,
    Metrics,
    Model,
    Register,
    RegisterAck,
    encode_frame,
    registration_message,
)
from compute_router.protocol.receipts import public_key_hex, sign_base64
from compute_router.protocol.units import DurationMs
from compute_router.worker.backoff import Backoff
from compute_router.worker.jobs import Assignment, AttemptKey, Outcome
from compute_router.worker.machine import MachineLoad
from compute_router.worker.outbox import Outbox
from compute_router.worker.result_frames import result_frame
from compute_router.worker.session_events import (
    ClosedForGood,
    CloseSocket,
    Connect,
    Connected,
    Disconnected,
    Effect,
    Event,
    FrameReceived,
    JobFinished,
    ModelsChanged,
    MonotonicMs,
    ReconnectDue,
    RunJob,
    ScheduleReconnect,
    SendFrame,
    Tick,
)

CHALLENGE_WAIT: Final = DurationMs(300)
REGISTER_WAIT: Final = DurationMs(10_000)
HEARTBEAT_EVERY: Final = DurationMs(10_000)

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """Who this worker is. ``slots`` is how many jobs it runs at once."""

    key: SigningKey
    provider_type: ProviderType
    slots: int
    agent: str


class _Phase(Enum):
    NEW = "new"
    CONNECTING = "connecting"
    CHALLENGE_AWAITED = "challenge awaited"
    ACK_AWAITED = "ack awaited"
    REGISTERED = "registered"
    CLOSING = "closing"
    WAITING = "waiting"
    CLOSED = "closed"


_OPEN: Final = frozenset({_Phase.CHALLENGE_AWAITED, _Phase.ACK_AWAITED, _Phase.REGISTERED})


class _TypeOnly(msgspec.Struct, frozen=True):
    type: str


class _JobIdOnly(msgspec.Struct, frozen=True):
    job_id: str
    attempt: int | None = None


class Session:
    """One worker's conversation, over as many connections as it takes."""

    def __init__(self, identity: Identity, backoff: Backoff, read_load: Callable[[], MachineLoad]) -> None:
        self._identity = identity
        self._pubkey = public_key_hex(identity.key)
        self._backoff = backoff
        self._read_load = read_load
        self._phase = _Phase.NEW
        self._alarm: MonotonicMs | None = None
        self._challenge: Challenge | None = None
        self._models: tuple[Model, ...] = ()
        self._running: dict[AttemptKey, Assignment] = {}
        self._outbox = Outbox()

    @property
    def wake_at(self) -> MonotonicMs | None:
        """When the session wants its next :class:`Tick`; None: not before another event."""
        return self._alarm

    @property
    def held(self) -> list[AttemptKey]:
        """Attempts that run, and then those whose results are not acknowledged."""
        return [*self._running, *self._outbox.attempts()]

    def handle(self, event: Event, now: MonotonicMs) -> list[Effect]:
        """Take one event in and say what is to be done, in order."""
        match event:
            case FrameReceived(text):
                return self._on_text(text, now)
            case JobFinished(key, outcome):
                return self._on_finished(key, outcome)
            case Tick():
                return self._on_tick(now)
            case ModelsChanged(models):
                return self._on_models(models, now)
            case Connected():
                self._phase = _Phase.CHALLENGE_AWAITED
                self._set_alarm(now, CHALLENGE_WAIT)
                return []
            case Disconnected(reason):
                return self._on_disconnected(reason)
            case ReconnectDue():
                return self._connect()
            case _:
                raise TypeError(f"not an event of the session: {event!r}")

    # Connection

    def _connect(self) -> list[Effect]:
        self._phase = _Phase.CONNECTING
        return [Connect()]

    def _on_disconnected(self, reason: str) -> list[Effect]:
        self._challenge = None
        self._alarm = None
        if self._phase is _Phase.CLOSED:
            return []
        self._phase = _Phase.WAITING
        return [ScheduleReconnect(self._backoff.next_delay(), reason)]

    def _on_tick(self, now: MonotonicMs) -> list[Effect]:
        if self._alarm is None or now < self._alarm:
            return []
        self._alarm = None
        if self._phase is _Phase.CHALLENGE_AWAITED:
            _log.debug("No challenge came: registering without proof of the key.")
            return self._register(now)
        if self._phase is _Phase.ACK_AWAITED:
            self._phase = _Phase.CLOSING
            return [CloseSocket("the coordinator did not answer the registration")]
        if self._phase is _Phase.REGISTERED:
            self._set_alarm(now, HEARTBEAT_EVERY)
            return [self._heartbeat()]
        return []

    def _set_alarm(self, now: MonotonicMs, wait: DurationMs) -> None:
        self._alarm = MonotonicMs(now + wait)

    # Registration

    def _on_models(self, models: tuple[Model, ...], now: MonotonicMs) -> list[Effect]:
        changed = models != self._models
        self._models = models
        if self._phase is _Phase.NEW:
            return self._connect()
        if changed and self._phase in (_Phase.ACK_AWAITED, _Phase.REGISTERED):
            return self._register(now)
        return []

    def _on_challenge(self, challenge: Challenge, now: MonotonicMs) -> list[Effect]:
        # A challenge that comes late finds the worker registered without proof; the
        # second registration on the same socket mends that.
        self._challenge = challenge
        return self._register(now) if self._phase in _OPEN else []

    def _register(self, now: MonotonicMs) -> list[Effect]:
        if self._phase is not _Phase.REGISTERED:
            self._phase = _Phase.ACK_AWAITED
            self._set_alarm(now, REGISTER_WAIT)
        nonce = signature = None
        if self._challenge is not None:
            nonce = self._challenge.nonce
            message = registration_message(self._challenge.network, nonce, self._pubkey)
            signature = sign_base64(self._identity.key, message)
        return [
            _send(
                Register(
                    provider_pubkey=self._pubkey,
                    provider_type=self._identity.provider_type,
                    capabilities=[job_type.value for job_type in self._capabilities()],
                    nonce=nonce,
                    signature=signature,
                    agent=self._identity.agent,
                    slots=self._identity.slots,
                    models=list(self._models),
                    active_jobs=[
                        HeldJob(key.job_id, key.attempt) for key in self.held if key.attempt is not None
                    ],
                )
            )
        ]

    def _capabilities(self) -> list[JobType]:
        return [JobType.LLM_INFER, JobType.TASK] if self._models else [JobType.TASK]

    def _on_register_ack(self, ack: RegisterAck, now: MonotonicMs) -> list[Effect]:
        if ack.status != "ok":
            self._phase = _Phase.CLOSED
            self._alarm = None
            reason = ack.error or f"it answered {ack.status!r}"
            return [ClosedForGood(f"The coordinator refused this worker: {reason}")]
        if self._phase is not _Phase.ACK_AWAITED:
            return []
        self._phase = _Phase.REGISTERED
        self._backoff.reset()
        self._set_alarm(now, HEARTBEAT_EVERY)
        served = ", ".join(job_type.value for job_type in self._capabilities())
        _log.info("Registered with the coordinator; serving %s.", served)
        return [effect for key in self._outbox.attempts() for effect in self._deliver(key)]

    def _heartbeat(self) -> Effect:
        load = self._read_load()
        metrics = Metrics(cpu_pct=load.cpu_pct, mem_pct=load.mem_pct, active_jobs=len(self._running))
        return _send(Heartbeat(self._pubkey, metrics))

    # Frames

    def _on_text(self, text: str, now: MonotonicMs) -> list[Effect]:
        if self._phase not in _OPEN:
            return []
        try:
            frame_type = msgspec.json.decode(text, type=_TypeOnly).type
        except (msgspec.MsgspecError, RecursionError) as error:
            _log.warning("The coordinator sent a frame that cannot be read: %s", error)
            return []
        if frame_type not in COORDINATOR_FRAME_TYPES:
            _log.debug("Ignoring a frame of the unknown type %r.", frame_type[:64])
            return []
        try:
            frame = COORDINATOR_FRAMES.decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            _log.warning("The coordinator sent a malformed %s: %s", frame_type, error)
            return _reject_unread(text) if frame_type == "job_assign" else []
        return self._on_frame(frame, now)

    def _on_frame(self, frame: CoordinatorFrame, now: MonotonicMs) -> list[Effect]:
        match frame:
            case JobAssign():
                return self._on_assign(frame)
            case JobAck():
                self._on_job_ack(frame)
                return []
            case HeartbeatAck():
                return []
            case Challenge():
                return self._on_challenge(frame, now)
            case RegisterAck():
                return self._on_register_ack(frame, now)
            case ErrorFrame():
                _log.warning("The coordinator reports %s: %s", frame.code, frame.message)
                return []

    # Jobs

    def _on_assign(self, assign: JobAssign) -> list[Effect]:
        key = AttemptKey(assign.job_id, assign.attempt)
        if key in self._running:
            _log.debug("Job %s was assigned again while it runs.", key)
            return []
        if key in self._outbox:
            return self._deliver(key)
        if assign.job_type not in self._capabilities():
            return [_reject(key, f"unsupported job type {assign.job_type.value}")]
        if len(self._running) >= self._identity.slots:
            return [_reject(key, "busy")]
        return self._start(key, assign)

    def _start(self, key: AttemptKey, assign: JobAssign) -> list[Effect]:
        is_llm = assign.job_type is JobType.LLM_INFER
        assignment = Assignment(
            key=key,
            job_type=assign.job_type,
            payload=bytes(assign.payload),
            model=(assign.model or self._models[0].name) if is_llm else None,
            lease=None if assign.deadline_ms is None else DurationMs(assign.deadline_ms),
        )
        self._running[key] = assignment
        # A task is over within milliseconds: saying that it started would only cost a frame.
        if is_llm and key.attempt is not None:
            return [_send(JobStarted(key.job_id, key.attempt)), RunJob(assignment)]
        return [RunJob(assignment)]

    def _on_finished(self, key: AttemptKey, outcome: Outcome) -> list[Effect]:
        if self._running.pop(key, None) is None:
            raise ValueError(f"job {key} finished without having been started")
        frame = result_frame(self._identity.key, key, outcome)
        self._outbox.put(key, frame.data, acknowledged=frame.acknowledged)
        return self._deliver(key) if self._phase is _Phase.REGISTERED else []

    def _deliver(self, key: AttemptKey) -> list[Effect]:
        return [SendFrame(frame) for frame in self._outbox.send(key)]

    def _on_job_ack(self, ack: JobAck) -> None:
        if ack.status not in ("accepted", "stale", "rejected"):
            _log.warning("The coordinator acknowledged a job with the unknown status %r.", ack.status)
            return
        if ack.status != "accepted":
            key = AttemptKey(ack.job_id, ack.attempt)
            _log.warning("The result of job %s was not taken: %s", key, ack.reason or ack.status)
        self._outbox.acknowledge(ack.job_id, ack.attempt)


def _send(frame: Frame) -> SendFrame:
    return SendFrame(encode_frame(frame))


def _reject(key: AttemptKey, reason: str) -> SendFrame:
    return _send(JobReject(job_id=key.job_id, reason=reason, attempt=key.attempt))


def _reject_unread(text: str) -> list[Effect]:
    """Give back a job that this version cannot read, if it says which job it is."""
    try:
        named = msgspec.json.decode(text, type=_JobIdOnly)
    except msgspec.MsgspecError:
        return []
    return [_reject(AttemptKey(named.job_id, named.attempt), "unsupported job")]
