"""What the coordinator has promised so far, and the check of each new act against it.

Seekers report what they were answered, the network what workers were sent, the store what was committed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import RecordCancelled, RecordFailed, RecordRequeued
from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import FINAL, JobEvent, JobStatus, advance
from compute_router.protocol.messages import (
    Frame,
    Heartbeat,
    JobAck,
    JobAssign,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
    Register,
)
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState, advance_payment
from compute_router.protocol.payments import CREDIT_NETWORK
from compute_router.storage.interface import Replay
from tests.chaos.journal import Journal
from tests.chaos.released import Vouches, check_release, is_withheld, without_payment
from tests.fakes.chaos_store import MONEY_CHANGES, Change

_EVENTS = {
    "assign_job": JobEvent.CLAIM,
    "start_job": JobEvent.START,
    "requeue_job": JobEvent.REQUEUE,
    "complete_job": JobEvent.COMPLETE,
    "fail_job": JobEvent.FAIL,
    "cancel_job": JobEvent.CANCEL,
}
_HELD = (JobStatus.ASSIGNED, JobStatus.RUNNING)


class Kept(msgspec.Struct):
    """A job as the committed changes have made it."""

    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    pubkey: str = ""
    result: bytes | None = None
    completed_by: tuple[str, int] | None = None


class Lease(msgspec.Struct):
    """An attempt as the coordinator may believe it, from what it sent and was sent."""

    attempt: int
    pubkey: str
    proven: bool
    worker_id: int
    length: int
    renewed_at: int
    over: bool = False
    lost_at: int | None = None
    grace: int = 0


class Promises:
    """The model of one run, over all lives of the coordinator."""

    def __init__(self, journal: Journal, policy: MatchingPolicy) -> None:
        self.journal = journal
        self.policy = policy
        self.kept: dict[str, Kept] = {}
        self.payments: dict[str, PaymentState] = {}
        self.acknowledged: set[str] = set()
        self.job_of_key: dict[tuple[str, str], str] = {}
        self.answered: dict[str, tuple[Any, ...]] = {}
        self.leases: dict[str, Lease] = {}
        self.sent: set[tuple[str, int]] = set()
        self._gone: set[int] = set()
        self._newest_of: dict[str, int] = {}
        self.outputs: dict[tuple[str, str, int | None], list[bytes]] = {}
        self.accepted: dict[tuple[str, str], int] = {}
        self.vouches: Vouches = lambda payer, amount, reference: True

    @property
    def now(self) -> int:
        return self.journal.now_ms()

    # The store

    def committed(self, changes: list[Change]) -> None:
        """A transaction is durable: each change must be a step of the state table."""
        for change in changes:
            if change.call == "insert_job":
                self._inserted(change)
            elif change.call in MONEY_CHANGES:
                self._paid(change)
            elif change.call in _EVENTS and change.answer not in (None, False):
                self._moved(change)

    def _paid(self, change: Change) -> None:
        """A payment made a step of its table; the table itself is the store's to keep."""
        if change.call == "reserve_payment":
            new = change.arguments[0]
            by_credit = new.network == CREDIT_NETWORK
            self.payments[new.payment_id] = PaymentState.SETTLED if by_credit else PaymentState.RESERVED
        elif change.call == "move_payment" and change.answer:
            payment_id, event = change.arguments[:2]
            before = self.payments[payment_id]
            self.payments[payment_id] = advance_payment(before, event)
            self.journal.note(
                f"stored payment {payment_id} {before.value} -> {self.payments[payment_id].value}"
            )

    def _inserted(self, change: Change) -> None:
        job = change.arguments[0]
        key = change.arguments[1] if len(change.arguments) > 1 else None
        if isinstance(change.answer, Replay):
            return
        self.journal.promise(job.job_id not in self.kept, f"job {job.job_id} was inserted twice")
        self.kept[job.job_id] = Kept()
        if key is not None:
            taken = self.job_of_key.setdefault((job.user_id, key.key), job.job_id)
            self.journal.promise(taken == job.job_id, f"key {key.key} made {taken} and {job.job_id}")

    def _moved(self, change: Change) -> None:
        job_id = change.arguments[0]
        job = self.kept[job_id]
        event = _EVENTS[change.call]
        before = job.status
        job.status = advance(before, event)
        self.journal.note(f"stored {job_id[:8]} {before.value} -> {job.status.value} {change.arguments[1]}")
        if event is JobEvent.CLAIM:
            attempt = change.arguments[1]
            self.journal.promise(attempt == job.attempt + 1, f"{job_id} went from {job.attempt} to {attempt}")
            job.attempt, job.pubkey = attempt, change.arguments[2]
        elif event is JobEvent.COMPLETE:
            _, attempt, pubkey, result, _ = change.arguments
            self.journal.promise(
                (attempt, pubkey) == (job.attempt, job.pubkey), f"{job_id} was completed by a stranger"
            )
            job.result, job.completed_by = result, (pubkey, attempt)
            self.journal.completions += 1
            if job_id in self.leases:
                self.leases[job_id].over = True
        elif event in (JobEvent.FAIL, JobEvent.CANCEL):
            job.result = change.arguments[-2]

    # Seekers

    def was_acknowledged(self, user: str, key: str | None, job_id: str) -> None:
        """A seeker saw a 201."""
        self.journal.promise(job_id in self.kept, f"{job_id} was acknowledged and is not stored")
        self.acknowledged.add(job_id)
        if key is not None:
            first = self.job_of_key.setdefault((user, key), job_id)
            self.journal.promise(first == job_id, f"key {key} was answered {first} and {job_id}")

    def was_answered(self, job_id: str, view: dict[str, Any], body: bytes) -> None:
        """A seeker saw a job; once it has ended, every later answer must be the same to the byte."""
        ended = JobStatus(view["status"]) in FINAL
        stored = self.kept[job_id].status.value
        if "payment" in view:
            check_release(self.journal, job_id, view, self.vouches)
            body = without_payment(view)
            if is_withheld(view):
                stored = "failed" if stored == "completed" else stored
        earlier = self.answered.get(job_id)
        if earlier is not None:
            self.journal.promise(earlier == (body,), f"the answer about {job_id} changed")
        if ended:
            self.answered[job_id] = (body,)
            self.journal.promise(
                stored == view["status"],
                f"{job_id} was answered as {view['status']} and is stored as {stored}",
            )

    # Workers

    def worker_made(self, pubkey: str, job_id: str, attempt: int | None, output: bytes) -> None:
        """A worker sends a completion."""
        self.outputs.setdefault((pubkey, job_id, attempt), []).append(output)

    def heard(self, worker_id: int, pubkey: str, proven: bool, frame: Frame) -> None:
        """A frame reaches the coordinator: it may renew or end leases."""
        if isinstance(frame, Register):
            self._registered(worker_id, frame, proven)
        elif isinstance(frame, Heartbeat):
            for held in frame.jobs:
                lease = self.leases.get(held.job_id)
                if lease and lease.worker_id == worker_id and lease.attempt == held.attempt:
                    lease.renewed_at = self.now
        elif isinstance(frame, JobStarted | JobChunk | JobComplete | JobFailed | JobReject):
            lease = self.leases.get(frame.job_id)
            if lease is None or lease.pubkey != pubkey or frame.attempt not in (None, lease.attempt):
                return
            if isinstance(frame, JobStarted | JobChunk):
                lease.renewed_at = self.now
            else:
                lease.over = True

    def _registered(self, worker_id: int, frame: Register, proven: bool) -> None:
        if proven:
            self._newest_of[frame.provider_pubkey] = worker_id
        names = {(held.job_id, held.attempt) for held in frame.active_jobs}
        for job_id, lease in self.leases.items():
            if not proven or lease.pubkey != frame.provider_pubkey or lease.worker_id == worker_id:
                continue
            if (job_id, lease.attempt) in names:
                lease.worker_id, lease.renewed_at, lease.lost_at = worker_id, self.now, None
            else:
                lease.over = True

    def connection_lost(self, worker_id: int) -> None:
        """The coordinator sees the end of a connection, or closes it."""
        self._gone.add(worker_id)
        for lease in self.leases.values():
            if lease.worker_id == worker_id and lease.lost_at is None:
                self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        lease.lost_at = self.now
        lease.grace = self.policy.reconnect_grace if lease.proven else 0

    def restarted(self) -> None:
        """A new coordinator has taken the jobs up: every connection of the old one is gone."""
        for job_id, lease in self.leases.items():
            lease.lost_at, lease.grace, lease.worker_id = self.now, self.policy.restart_grace, 0
            job = self.kept[job_id]
            # A decision that was never stored was never made.
            lease.over = job.status not in _HELD or job.attempt != lease.attempt

    def told_worker(self, worker_id: int, pubkey: str, proven: bool, frame: Frame) -> None:
        """The coordinator sends a frame to a worker."""
        if isinstance(frame, JobAssign):
            self._assigned(worker_id, pubkey, proven, frame)
        elif isinstance(frame, JobAck) and frame.status == "accepted":
            self._accepted(pubkey, frame)

    def _assigned(self, worker_id: int, pubkey: str, proven: bool, frame: JobAssign) -> None:
        attempt, length = frame.attempt or 0, frame.deadline_ms or 0
        job = self.kept[frame.job_id]
        name = f"attempt {attempt} of {frame.job_id}"
        self.journal.promise((frame.job_id, attempt) not in self.sent, f"{name} was assigned twice")
        self.journal.promise(
            (job.attempt, job.pubkey) == (attempt, pubkey), f"{name} was sent and is not the one stored"
        )
        self.sent.add((frame.job_id, attempt))
        earlier = self.leases.get(frame.job_id)
        self.journal.promise(
            earlier is None or earlier.over, f"{name} was sent while {earlier} was still held"
        )
        lease = Lease(attempt, pubkey, proven, worker_id, length, self.now)
        self.leases[frame.job_id] = lease
        # What brings the end of this connection may be under way to the Matcher already.
        if worker_id in self._gone:
            self._lose(lease)
        lease.over = proven and self._newest_of.get(pubkey, worker_id) != worker_id

    def decided(self, request: Message) -> None:
        """The Matcher tells the store what is to be: an attempt may end only by a rule."""
        if not isinstance(request, RecordRequeued | RecordFailed | RecordCancelled):
            return
        lease = self.leases.get(request.job_id)
        if lease is None:
            return
        if isinstance(request, RecordRequeued) and lease.attempt == request.attempt:
            self.journal.promise(
                self._ended(lease), f"{request.job_id} was taken back for {request.reason} from {lease}"
            )
        lease.over = True

    def _ended(self, lease: Lease) -> bool:
        lost = lease.lost_at is not None and self.now - lease.lost_at >= lease.grace
        return lease.over or lost or self.now - lease.renewed_at >= lease.length

    def _accepted(self, pubkey: str, frame: JobAck) -> None:
        job = self.kept[frame.job_id]
        self.journal.promise(
            job.completed_by is not None and job.completed_by[0] == pubkey,
            f"{frame.job_id} was accepted from {pubkey[:8]} and is stored as {job.completed_by}",
        )
        assert job.completed_by is not None
        attempts = (None, job.completed_by[1])
        made = [o for a in attempts for o in self.outputs.get((pubkey, frame.job_id, a), [])]
        accepted = self.accepted[frame.job_id, pubkey] = self.accepted.get((frame.job_id, pubkey), 0) + 1
        self.journal.promise(
            accepted <= made.count(job.result or b""),
            f"{pubkey[:8]} was told that its output of {frame.job_id} is accepted; another one is stored",
        )

    # The end

    def check_the_end(self) -> None:
        """After the faults: every acknowledged job has ended."""
        for job_id in self.unfinished:
            status = self.kept[job_id].status.value
            self.journal.promise(False, f"{job_id} was acknowledged and is still {status} when all is calm")
        for payment_id in self.undecided:
            state = self.payments[payment_id].value
            self.journal.promise(False, f"{payment_id} is still {state} when all is calm")

    @property
    def undecided(self) -> list[str]:
        """Payments that may still move money."""
        return sorted(payment_id for payment_id, state in self.payments.items() if state in OPEN_PAYMENTS)

    @property
    def unfinished(self) -> list[str]:
        """Acknowledged jobs that have not ended."""
        return sorted(job_id for job_id in self.acknowledged if self.kept[job_id].status not in FINAL)
