"""A worker session under test, spoken to in terms of the protocol."""

from __future__ import annotations

import json
from typing import Any

from nacl.signing import SigningKey

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import WORKER_FRAMES, Model, Register
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.units import UnixMs
from compute_router.worker.backoff import Backoff
from compute_router.worker.jobs import Assignment, AttemptKey, Failed, Outcome, Output, Stopped
from compute_router.worker.machine import MachineLoad
from compute_router.worker.session import Identity, Session
from compute_router.worker.session_events import (
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
from compute_router.worker.timing import Timing

KEY = SigningKey(bytes(32))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
LLAMA = Model("llama3:latest", digest="d" * 64)
QWEN = Model("qwen:7b")
DONE = Output(b'{"summary":"x","word_count":1}', UnixMs(1_770_638_405_000))
LOST = Failed("ollama_unreachable", "Ollama cannot be reached.", retryable=True)


class Conversation:
    """A session with a clock, spoken to in terms of the protocol."""

    def __init__(self, slots: int = 1, models: tuple[Model, ...] = (), timing: Timing | None = None) -> None:
        identity = Identity(KEY, ProviderType.DESKTOP, slots, "test/1", "run-1")
        self.session = Session(identity, Backoff(lambda: 0.5), lambda: MachineLoad(12.5, 40.0), timing)
        self.now = MonotonicMs(1_000)
        self.models = models

    def happens(self, event: Event) -> list[Effect]:
        return self.session.handle(event, self.now)

    def hears(self, **frame: Any) -> list[Effect]:
        return self.happens(FrameReceived(json.dumps(frame)))

    def passes(self, ms: int) -> list[Effect]:
        """Let time pass, with a tick whenever the session asked for one."""
        end, effects = MonotonicMs(self.now + ms), []
        while (wake_at := self.session.wake_at) is not None and wake_at <= end:
            self.now = wake_at
            effects += self.happens(Tick())
        self.now = end
        return effects

    def connects(self) -> None:
        started = self.happens(ModelsChanged(self.models))
        assert started == [Connect()]
        assert self.happens(Connected()) == []

    def registers(self) -> Conversation:
        self.connects()
        self.hears(type="challenge", nonce="n1", network=NETWORK)
        assert self.is_welcomed() == []
        return self

    def is_welcomed(self) -> list[Effect]:
        return self.hears(type="register_ack", status="ok", worker_id="w1")

    def is_answered(self, job: str = "job-1", attempt: int = 1, status: str = "accepted") -> list[Effect]:
        return self.hears(type="job_ack", job_id=job, attempt=attempt, status=status)

    def reconnects(self) -> Register:
        """Lose the connection and get to the registration on the next one."""
        (scheduled,) = self.happens(Disconnected("gone"))
        assert isinstance(scheduled, ScheduleReconnect)
        assert self.happens(ReconnectDue()) == [Connect()]
        self.happens(Connected())
        (register,) = frames(self.hears(type="challenge", nonce="n2", network=NETWORK))
        assert isinstance(register, Register)
        return register

    def is_assigned(self, job: str = "job-1", attempt: int | None = 1, **more: Any) -> list[Effect]:
        frame: dict[str, Any] = {
            "type": "job_assign",
            "job_id": job,
            "job_type": "TASK",
            "payload": {"task_type": "summarize", "input": "x"},
            "policy": "CHEAP",
            "privacy_class": "PUBLIC",
            "user_id": "ada",
        }
        if attempt is not None:
            frame["attempt"] = attempt
        return self.hears(**{**frame, **more})

    def is_cancelled(self, job: str = "job-1", attempt: int = 1) -> list[Effect]:
        return self.hears(type="job_cancel", job_id=job, attempt=attempt)

    def stops(self, job: str = "job-1", attempt: int = 1) -> list[Effect]:
        """The executor of a cancelled attempt has stopped."""
        return self.finishes(job, attempt, Stopped())

    def finishes(self, job: str = "job-1", attempt: int | None = 1, outcome: Outcome = DONE) -> list[Effect]:
        return self.happens(JobFinished(AttemptKey(job, attempt), outcome))


def frames(effects: list[Effect]) -> list[object]:
    """The frames sent, decoded as strictly as a coordinator does."""
    return [WORKER_FRAMES.decode(effect.data) for effect in effects if isinstance(effect, SendFrame)]


def started_jobs(effects: list[Effect]) -> list[Assignment]:
    return [effect.assignment for effect in effects if isinstance(effect, RunJob)]
