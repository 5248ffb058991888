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

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAME_TYPES,
    COORDINATOR_FRAMES,
    SEALED_V1,
    Challenge,
    CoordinatorFrame,
    Drain,
    ErrorFrame,
    Heartbeat,
    HeartbeatAck,
    HeldJob,
    JobAck,
    JobAssign,
    JobCancel,
    Metrics,
    Model,
    PaymentFailed,
    PaymentPosted,
    Register,
    RegisterAck,
    registration_message,
)
from compute_router.protocol.receipts import public_key_hex, sign_base64
from compute_router.protocol.units import DurationMs
from compute_router.worker.backoff import Backoff
from compute_router.worker.executors.repeatable import tasks_feature
from compute_router.worker.jobs import AttemptKey, Outcome
from compute_router.worker.machine import MachineLoad
from compute_router.worker.session_events import (
    GOING_AWAY,
    NORMAL_CLOSURE,
    ClosedForGood,
    CloseSocket,
    Connect,
    Connected,
    Disconnected,
    DrainAsked,
    Drained,
    Effect,
    Event,
    FrameReceived,
    JobFinished,
    JobProgressed,
    ModelsChanged,
    MonotonicMs,
    ReconnectDue,
    ScheduleReconnect,
    Tick,
)
from compute_router.worker.timing import MAX_UNANSWERED_HEARTBEATS, Timing
from compute_router.worker.workload import DRAINING, Workload, job_types, reject, send

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """Who this worker is. ``slots`` is how many jobs it runs at once, ``instance`` a name of this run.

    ``payout_address`` is where it wants its earnings, told only with a proof of its key.
    """

    key: SigningKey
    provider_type: ProviderType
    slots: int
    agent: str
    instance: str
    payout_address: str | None = None


class _Phase(Enum):
    NEW = "new"
    CONNECTING = "connecting"
    CHALLENGE_AWAITED = "challenge awaited"
    ACK_AWAITED = "ack awaited"
    REGISTERED = "registered"
    CLOSING = "closing"
    WAITING = "waiting"
    CLOSED = "closed"


_REPLACED: Final = (
    "Another program uses this worker's key and has taken its place at the coordinator. "
    "Give each worker a key of its own with --key PATH."
)
_OPEN: Final = frozenset({_Phase.CHALLENGE_AWAITED, _Phase.ACK_AWAITED, _Phase.REGISTERED})


class _TypeOnly(msgspec.Struct, frozen=True):
    type: str


class _JobIdOnly(msgspec.Struct, frozen=True):
    job_id: str
    attempt: int | None = None


class Session:
    """One worker's conversation, over as many connections as it takes."""

    def __init__(
        self,
        identity: Identity,
        backoff: Backoff,
        read_load: Callable[[], MachineLoad],
        timing: Timing | None = None,
    ) -> None:
        self._identity = identity
        self._pubkey = public_key_hex(identity.key)
        self._backoff = backoff
        self._read_load = read_load
        self._timing = timing or Timing()
        self._phase = _Phase.NEW
        self._alarm: MonotonicMs | None = None
        self._leave_at: MonotonicMs | None = None
        self._challenge: Challenge | None = None
        self._unanswered_heartbeats = 0
        self._closing_because = ""
        self._unproven = False
        self._models: tuple[Model, ...] = ()
        self._work = Workload(identity.key, identity.slots)

    @property
    def wake_at(self) -> MonotonicMs | None:
        """When the session wants its next :class:`Tick`; None: not before another event."""
        return min((at for at in (self._alarm, self._leave_at) if at is not None), default=None)

    @property
    def held(self) -> list[AttemptKey]:
        """Attempts that run, and then those whose results are not acknowledged."""
        return self._work.held

    @property
    def _draining(self) -> bool:
        return self._leave_at is not None

    def handle(self, event: Event, now: MonotonicMs) -> list[Effect]:
        """Take one event in and say what is to be done, in order."""
        if isinstance(event, JobFinished):
            effects = self._on_finished(event.key, event.outcome)
        elif self._phase is _Phase.CLOSED:
            return []
        else:
            effects = self._on_event(event, now)
        if self._draining and not self._work.held:
            effects += self._leave("All jobs are done and delivered.")
        return effects

    def _on_event(self, event: Event, now: MonotonicMs) -> list[Effect]:
        match event:
            case FrameReceived(text):
                return self._on_text(text, now)
            case JobProgressed(key, delta):
                chunk = self._work.chunk(key, delta)
                return chunk if self._phase is _Phase.REGISTERED else []
            case Tick():
                return self._on_tick(now)
            case ModelsChanged(models):
                return self._on_models(models, now)
            case Connected():
                self._phase = _Phase.CHALLENGE_AWAITED
                self._set_alarm(now, self._timing.challenge_wait)
                return []
            case Disconnected():
                return self._on_disconnected(event)
            case ReconnectDue():
                return self._connect()
            case DrainAsked():
                return self._drain(now)
            case _:
                raise TypeError(f"not an event of the session: {event!r}")

    # Connection

    def _connect(self) -> list[Effect]:
        self._phase = _Phase.CONNECTING
        return [Connect()]

    def _on_disconnected(self, event: Disconnected) -> list[Effect]:
        reason = self._closing_because if self._phase is _Phase.CLOSING else event.reason
        if event.replaced:
            # Coming back would end the other's connection, and so on for ever.
            self._close()
            return [ClosedForGood(_REPLACED)]
        self._challenge = None
        self._unproven = False
        self._alarm = None
        self._phase = _Phase.WAITING
        return [ScheduleReconnect(self._backoff.next_delay(), reason)]

    def _on_tick(self, now: MonotonicMs) -> list[Effect]:
        if self._leave_at is not None and now >= self._leave_at:
            return self._leave_unfinished()
        if self._alarm is None or now < self._alarm:
            return []
        self._alarm = None
        if self._phase is _Phase.CHALLENGE_AWAITED:
            _log.debug("No challenge came: registering without proof of the key.")
            return self._register(now)
        if self._phase is _Phase.ACK_AWAITED:
            return self._give_up_connection("did not answer the registration")
        if self._phase is _Phase.REGISTERED:
            return self._heartbeat(now)
        return []

    def _give_up_connection(self, because: str) -> list[Effect]:
        self._phase = _Phase.CLOSING
        self._closing_because = because
        return [CloseSocket(GOING_AWAY, f"the coordinator {because}")]

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
        return self._register(now)

    def _register(self, now: MonotonicMs) -> list[Effect]:
        registered = self._phase is _Phase.REGISTERED
        if not registered:
            self._phase = _Phase.ACK_AWAITED
            self._set_alarm(now, self._timing.register_wait)
        nonce = signature = payout_address = None
        if self._challenge is None:
            self._unproven = True
        else:
            nonce = self._challenge.nonce
            payout_address = self._identity.payout_address
            message = registration_message(self._challenge.network, nonce, self._pubkey, payout_address)
            signature = sign_base64(self._identity.key, message)
        register = send(
            Register(
                provider_pubkey=self._pubkey,
                provider_type=self._identity.provider_type,
                capabilities=[job_type.value for job_type in job_types(self._models)],
                nonce=nonce,
                signature=signature,
                agent=self._identity.agent,
                instance=self._identity.instance,
                slots=self._identity.slots,
                models=list(self._models),
                active_jobs=_counted(self._work.held),
                features=[SEALED_V1, tasks_feature()],
                payout_address=payout_address,
            )
        )
        # A second registration offers all slots again.
        return [register, send(Drain())] if registered and self._draining else [register]

    def _on_register_ack(self, ack: RegisterAck, now: MonotonicMs) -> list[Effect]:
        if ack.status != "ok":
            if self._unproven and self._challenge is not None:
                return self._give_up_connection(
                    "sent its challenge too late for this worker to prove its key"
                )
            self._close()
            reason = ack.error or f"it answered {ack.status!r}"
            return [ClosedForGood(f"The coordinator refused this worker: {reason}")]
        if self._phase is not _Phase.ACK_AWAITED:
            return []
        self._phase = _Phase.REGISTERED
        self._backoff.reset()
        self._unanswered_heartbeats = 0
        self._set_alarm(now, self._timing.heartbeat_every)
        served = ", ".join(job_type.value for job_type in job_types(self._models))
        _log.info("Registered with the coordinator; serving %s.", served)
        drain: list[Effect] = [send(Drain())] if self._draining else []
        return [*drain, *self._work.deliver_all()]

    def _heartbeat(self, now: MonotonicMs) -> list[Effect]:
        if self._unanswered_heartbeats == MAX_UNANSWERED_HEARTBEATS:
            return self._give_up_connection(f"did not answer {MAX_UNANSWERED_HEARTBEATS} heartbeats")
        self._unanswered_heartbeats += 1
        self._set_alarm(now, self._timing.heartbeat_every)
        load, running = self._read_load(), self._work.running
        metrics = Metrics(cpu_pct=load.cpu_pct, mem_pct=load.mem_pct, active_jobs=len(running))
        return [send(Heartbeat(self._pubkey, metrics, _counted(running)))]

    # Leaving

    def _drain(self, now: MonotonicMs) -> list[Effect]:
        if self._draining:
            return []
        self._leave_at = MonotonicMs(now + self._timing.drain_limit)
        _log.info(
            "No more jobs are taken; the worker leaves when %d running job(s) are done and all results are "
            "delivered, or in %.1f s.",
            len(self._work.running),
            self._timing.drain_limit / 1000,
        )
        return [send(Drain())] if self._phase is _Phase.REGISTERED else []

    def _leave_unfinished(self) -> list[Effect]:
        running = self._work.running
        undelivered = len(self._work.held) - len(running)
        effects = [effect for key in running for effect in self._work.cancel(key)]
        if self._phase is _Phase.REGISTERED:
            effects += [reject(key, DRAINING) for key in running]
        return effects + self._leave(
            f"The time to drain is over with {len(running)} job(s) not done and {undelivered} result(s) not "
            "acknowledged."
        )

    def _leave(self, reason: str) -> list[Effect]:
        self._close()
        return [CloseSocket(NORMAL_CLOSURE, "the worker leaves"), Drained(reason)]

    def _close(self) -> None:
        self._phase = _Phase.CLOSED
        self._alarm = self._leave_at = None

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
                network = None if self._challenge is None else self._challenge.network
                return self._work.assign(frame, self._models, draining=self._draining, network=network)
            case JobCancel(job_id, attempt):
                return self._work.cancel(AttemptKey(job_id, attempt))
            case JobAck():
                self._work.acknowledge(frame)
                return []
            case HeartbeatAck():
                self._unanswered_heartbeats = 0
                return []
            case Drain():
                _log.info("The coordinator asks this worker to leave.")
                return self._drain(now)
            case Challenge():
                return self._on_challenge(frame, now)
            case RegisterAck():
                return self._on_register_ack(frame, now)
            case PaymentPosted():
                if frame.amount is not None:
                    where, reference = frame.address, frame.transaction_ref
                    _log.info("Paid out: %s to %s, by %s.", frame.amount, where, reference)
                return []
            case PaymentFailed():
                if frame.amount is not None:
                    _log.warning("A payout of %s did not happen: %s", frame.amount, frame.reason)
                return []
            case ErrorFrame():
                _log.warning("The coordinator reports %s: %s", frame.code, frame.message)
                return []

    def _on_finished(self, key: AttemptKey, outcome: Outcome) -> list[Effect]:
        self._work.finish(key, outcome)
        return self._work.deliver(key) if self._phase is _Phase.REGISTERED else []


def _counted(keys: list[AttemptKey]) -> list[HeldJob]:
    """Attempts as frames name them; a coordinator that counts none has no use for their names."""
    return [HeldJob(key.job_id, key.attempt) for key in keys if key.attempt is not None]


def _reject_unread(text: str) -> list[Effect]:
    """Give back a job that this version cannot read, if it says which job it is."""
    try:
        named = msgspec.json.decode(text, type=_JobIdOnly)
    except msgspec.MsgspecError:
        return []
    return [reject(AttemptKey(named.job_id, named.attempt), "unsupported job")]
