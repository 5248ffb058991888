"""A simulated worker: honest or not, with a memory that a crash wipes, and bad habits on the wire."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import (
    Challenge,
    Drain,
    Frame,
    Heartbeat,
    HeldJob,
    JobAck,
    JobAssign,
    JobCancel,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
    Register,
    RegisterAck,
    encode_frame,
    registration_message,
)
from compute_router.protocol.receipts import public_key_hex, sha256_hex, sign_base64, sign_receipt
from compute_router.protocol.units import UnixMs
from tests.chaos.journal import Journal


class Wire(Protocol):
    """A worker's end of its connection."""

    half_open: bool
    up: deque[bytes | None]

    def say(self, frame_json: bytes) -> None:
        """Send a frame."""

    def leave(self) -> None:
        """Go away without a word."""

    def cut(self, *, lose: bool) -> None:
        """Break, so that both sides notice."""

    def freeze(self) -> None:
        """Carry nothing more, so that nobody notices."""


class WorkersWitness(Protocol):
    """Hears what workers made."""

    def worker_made(self, pubkey: str, job_id: str, attempt: int | None, output: bytes) -> None:
        """A worker sends a completion."""


Connect = Callable[["SimWorker"], Wire | None]
Attempt = tuple[str, int]

_SOFT: Final = ("busy", "overloaded by something else")


class SimWorker:
    """One key. ``proven`` workers are ours: they prove the key, count attempts, and deliver again."""

    def __init__(
        self,
        name: str,
        *,
        proven: bool,
        slots: int,
        rng: random.Random,
        journal: Journal,
        promises: WorkersWitness,
        connect: Connect,
        beat_every_ms: int = 10_000,
        payout_address: str | None = None,
    ) -> None:
        self.payout_address = payout_address if proven else None
        self.name = name
        self.proven = proven
        self.slots = slots
        self.honest = False
        self.drains = False
        self.key = SigningKey(sha256_hex(name.encode()).encode()[:32])
        self.pubkey = public_key_hex(self.key)
        self.link: Wire | None = None
        self.registered = False
        self.running: set[Attempt] = set()
        self.undelivered: dict[Attempt, JobComplete] = {}
        self._old: list[Frame] = []
        self._rng = rng
        self._journal = journal
        self._promises = promises
        self._connect = connect
        self._beat_at = 0
        self._beat_every_ms = beat_every_ms

    # What the network brings

    def hears(self, frame: Frame) -> None:
        """A frame of the coordinator arrives."""
        match frame:
            case Challenge():
                self._register(frame)
            case RegisterAck(status):
                self._journal.promise(status == "ok", f"{self.name} was refused: {frame}")
                self.registered = True
                for completion in list(self.undelivered.values()):
                    self._say(completion)
            case JobAssign(job_id, attempt=attempt):
                assert attempt is not None
                if self.proven and not self.honest and len(self.running) >= self.slots:
                    self._say(JobReject(job_id, "busy", attempt=attempt))
                else:
                    self.running.add((job_id, attempt))
            case JobCancel(job_id, attempt):
                if self.proven:
                    self.running.discard((job_id, attempt))
                    self.undelivered.pop((job_id, attempt), None)
            case JobAck(job_id, _, attempt):
                if attempt is not None:
                    self.undelivered.pop((job_id, attempt), None)
                    self.running.discard((job_id, attempt))
            case _:
                pass

    def loses_link(self) -> None:
        """The connection's end arrives, or the worker gives it up."""
        self.link, self.registered, self.drains = None, False, False
        if not self.proven:
            self.running.clear()
            self.undelivered.clear()

    # What it does by itself

    def act(self, now: int) -> None:
        """Do one thing."""
        if self.link is None:
            self.link = self._connect(self)
        elif self.registered:
            if now >= self._beat_at:
                self.beat(now)
            elif self.running:
                self._work(self._rng.choice(sorted(self.running)))

    def beat(self, now: int) -> None:
        """Send a heartbeat that names what runs."""
        self._beat_at = now + self._beat_every_ms
        held = [HeldJob(*attempt) for attempt in sorted(self.running)] if self.proven else []
        self._say(Heartbeat(self.pubkey, jobs=held))

    def crash(self) -> None:
        """The process is killed: its memory and its socket are gone."""
        if self.link is not None:
            self.link.leave()
        self.loses_link()
        self.running.clear()
        self.undelivered.clear()

    def drop(self) -> None:
        """Give up the connection and keep the memory."""
        if self.link is not None:
            self.link.leave()
        self.loses_link()

    def misbehave(self) -> str | None:
        """Say something that fits nothing: old frames again, a wrong receipt, a second output."""
        if not self.registered:
            return None
        if self._old and self._rng.random() < 0.6:
            frame = self._rng.choice(self._old)
            self._say(frame)
            return f"old {type(frame).__name__}"
        if not self.running:
            return None
        job_id, attempt = self._rng.choice(sorted(self.running))
        kind = self._rng.choice(["wrong hash", "two outputs", "drain", "malformed attempt"])
        if kind == "wrong hash":
            whole = self._completion(job_id, attempt, b'{"summary":"true"}')
            self._say(msgspec.structs.replace(whole, output=msgspec.Raw(b'{"summary":"forged"}')), made=False)
        elif kind == "two outputs":
            for text in ("one", "two"):
                self._say(self._completion(job_id, attempt, b'{"summary":"%s"}' % text.encode()))
        elif kind == "drain":
            self.drains = True
            self._say(Drain())
        else:
            self._say(JobStarted(job_id, attempt + self._rng.choice([1, 7])))
        return kind

    def _work(self, at: Attempt) -> None:
        job_id, attempt = at
        named = attempt if self.proven or self._rng.random() < 0.5 else None
        what = self._rng.random()
        if self.honest or what < 0.45:
            completion = self._completion(
                job_id, attempt, b'{"summary":"%d by %s"}' % (attempt, self.name.encode()), named
            )
            self.running.discard(at)
            if self.proven:
                self.undelivered[at] = completion
            self._say(completion)
        elif what < 0.6:
            self._say(JobStarted(job_id, attempt))
        elif what < 0.75:
            self._say(JobChunk(job_id, attempt, 0, "..."))
        elif what < 0.82:
            self.running.discard(at)
            self._say(JobReject(job_id, self._rng.choice(_SOFT), attempt=named))
        elif what < 0.92:
            self.running.discard(at)
            retryable = self._rng.random() < 0.8
            code = self._rng.choice(["model_unloaded", "task_failed"])
            self._say(JobFailed(job_id, attempt, code, "It broke.", retryable))
        elif what < 0.96:
            self.running.discard(at)

    def _completion(self, job_id: str, attempt: int, output: bytes, named: int | None = None) -> JobComplete:
        signed = sign_receipt(self.key, job_id, output, UnixMs(1_770_638_400_000))
        return JobComplete(
            job_id,
            msgspec.Raw(output),
            sha256_hex(output),
            receipt=msgspec.Raw(signed.receipt_json),
            receipt_signature=signed.signature,
            attempt=attempt if self.proven else named,
        )

    def _register(self, challenge: Challenge) -> None:
        frame = Register(
            self.pubkey,
            ProviderType.DESKTOP,
            ["LLM_INFER", "TASK"],
            slots=self.slots,
        )
        if self.proven:
            message = registration_message(
                challenge.network, challenge.nonce, self.pubkey, self.payout_address
            )
            frame = msgspec.structs.replace(
                frame,
                nonce=challenge.nonce,
                signature=sign_base64(self.key, message),
                payout_address=self.payout_address,
                active_jobs=[HeldJob(*at) for at in sorted(self.running | set(self.undelivered))],
            )
        self._send(frame)

    def _say(self, frame: Frame, *, made: bool = True) -> None:
        """Send a frame about a job; sometimes twice, sometimes before what was said just now."""
        copies = 1
        if not self.honest and self._rng.random() < 0.08:
            copies = 2
            self._journal.fault("duplicate", type(frame).__name__)
        for _ in range(copies):
            if isinstance(frame, JobComplete) and made:
                self._promises.worker_made(self.pubkey, frame.job_id, frame.attempt, bytes(frame.output))
            self._send(frame)
        if made and not isinstance(frame, Drain):
            self._old = [*self._old[-8:], frame]
        link = self.link
        if not self.honest and link is not None and len(link.up) >= 2 and self._rng.random() < 0.08:
            link.up[-1], link.up[-2] = link.up[-2], link.up[-1]
            self._journal.fault("reorder", type(frame).__name__)

    def _send(self, frame: Frame) -> None:
        if self.link is not None:
            self.link.say(encode_frame(frame))
