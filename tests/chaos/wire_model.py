"""What a real coordinator has promised on its sockets, checked against its file in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import msgspec

from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.messages import Frame, JobAck, JobAssign
from compute_router.storage.check import problems
from tests.chaos.journal import Journal
from tests.chaos.released import Vouches, check_release, is_withheld, without_payment


class WirePromises:
    """Only what clients saw counts; what the process did inside is not known here."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acknowledged: set[str] = set()
        self.job_of_key: dict[tuple[str, str], str] = {}
        self.answered: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.assigned: dict[tuple[str, int], str] = {}
        self.accepted: dict[str, tuple[str, int | None]] = {}
        self.outputs: dict[tuple[str, str], list[bytes]] = {}
        self.vouches: Vouches = lambda payer, amount, reference: True

    def was_acknowledged(self, user: str, key: str | None, job_id: str) -> None:
        """A seeker saw a 201."""
        self.acknowledged.add(job_id)
        if key is not None:
            first = self.job_of_key.setdefault((user, key), job_id)
            self.journal.promise(first == job_id, f"key {key} was answered {first} and {job_id}")

    def was_answered(self, job_id: str, view: dict[str, Any], body: bytes) -> None:
        """A seeker saw a job; once it has ended, every later answer must be the same to the byte."""
        if "payment" in view:
            check_release(self.journal, job_id, view, self.vouches)
            body = without_payment(view)
        earlier = self.answered.get(job_id)
        self.journal.promise(earlier is None or earlier[0] == body, f"the answer about {job_id} changed")
        if JobStatus(view["status"]) in FINAL:
            self.answered[job_id] = (body, view)

    def worker_made(self, pubkey: str, job_id: str, attempt: int | None, output: bytes) -> None:
        """A worker sends a completion."""
        self.outputs.setdefault((pubkey, job_id), []).append(output)

    def told_worker(self, pubkey: str, frame: Frame) -> None:
        """A worker hears a frame."""
        if isinstance(frame, JobAssign):
            at = (frame.job_id, frame.attempt or 0)
            self.journal.promise(at not in self.assigned, f"attempt {at} was assigned twice")
            self.assigned[at] = pubkey
        elif isinstance(frame, JobAck) and frame.status == "accepted":
            first = self.accepted.setdefault(frame.job_id, (pubkey, frame.attempt))
            self.journal.promise(first[0] == pubkey, f"{frame.job_id} was accepted from two workers")

    def check_the_file(self, database: Path) -> None:
        """After the last stop."""
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            found = list(problems(connection, lambda done, of: None))
            jobs = {
                row[0]: row[1:]
                for row in connection.execute(
                    "SELECT id, status, attempt, worker_pubkey, CAST(result AS BLOB) FROM jobs"
                )
            }
            keys = {
                (user, key): job_id
                for user, key, job_id in connection.execute(
                    "SELECT user_id, idempotency_key, id FROM jobs WHERE idempotency_key IS NOT NULL"
                )
            }
        finally:
            connection.close()
        self.journal.completions = sum(status == "completed" for status, *_ in jobs.values())
        promise = self.journal.promise
        promise(not found, f"the file is not sound: {found}")
        for job_id in sorted(self.acknowledged):
            promise(job_id in jobs, f"{job_id} was acknowledged and is not in the file")
            status = JobStatus(jobs[job_id][0])
            promise(status in FINAL, f"{job_id} was acknowledged and is {status.value} after the calm")
        for named, job_id in self.job_of_key.items():
            promise(keys.get(named) == job_id, f"{named} was answered {job_id}, stored is {keys.get(named)}")
        for (job_id, attempt), pubkey in self.assigned.items():
            _, last, holder, _ = jobs[job_id]
            promise(attempt <= last, f"attempt {attempt} of {job_id} was assigned, the last stored is {last}")
            promise(
                attempt < last or holder in (None, pubkey),
                f"attempt {attempt} of {job_id} was given to {pubkey[:8]}, stored is {holder}",
            )
        for job_id, (pubkey, _) in self.accepted.items():
            status, _, holder, result = jobs[job_id]
            promise(
                (status, holder) == ("completed", pubkey)
                and result in self.outputs.get((pubkey, job_id), []),
                f"{job_id} was accepted from {pubkey[:8]}, stored is {status} by {holder}",
            )
        for job_id, (_, view) in self.answered.items():
            status, _, _, result = jobs[job_id]
            if is_withheld(view):
                promise(status == "completed", f"{job_id} was withheld and is {status}")
                continue
            promise(
                (view["status"], view["result"]) == (status, msgspec.json.decode(result)),
                f"{job_id} was answered as {view}, stored is {status} {result!r}",
            )
