"""What the JobStore is asked about pairings, API keys, track records and audits."""

from __future__ import annotations

from compute_router.actors.messages.base import Message
from compute_router.actors.ownership import OwnerProof
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import ApiKey, WorkerRecord


class CreatePairing(Message, frozen=True):
    """Ask: keep a pairing code. Answer: whether the user got its owner by this, or OwnerRefusal.

    A user without an owner is owned from then on by whoever has the token of ``new_owner``, its SHA-256 hex;
    if that is None and the caller is vouched for, the user is locked.
    """

    user_id: str
    code: str
    created_at: UnixMs
    expires_at: UnixMs
    proof: OwnerProof = OwnerProof()
    new_owner: str | None = None


class ClaimPairing(Message, frozen=True):
    """Ask: use a pairing code. Answer: Pairing or ClaimRefusal."""

    code: str
    pubkey: str
    now: UnixMs
    signed: bool = False


class ListPairings(Message, frozen=True):
    """Ask: a user's pairings. Answer: tuple of Pairing, or OwnerRefusal if a wrong token came with it."""

    user_id: str
    proof: OwnerProof = OwnerProof()


class RevokePairing(Message, frozen=True):
    """Ask: end a user's trust in a key. Answer: whether there was any, or OwnerRefusal."""

    user_id: str
    pubkey: str
    proof: OwnerProof


class LoadApiKeys(Message, frozen=True):
    """Ask: every API key. Answer: tuple of ApiKey, oldest first."""


class PutApiKey(Message, frozen=True):
    """Ask: keep a new API key."""

    key: ApiKey


class RevokeApiKey(Message, frozen=True):
    """Ask: note that an API key may be used no more. Answer: whether it could be used until now."""

    key_id: str
    now: UnixMs


class LoadTrackRecords(Message, frozen=True):
    """Ask: up to ``limit`` track records, and the barred keys. Answer: :class:`TrackRecordsLoaded`."""

    limit: int


class DropAudits(Message, frozen=True):
    """End the repetitions of jobs that the last run left unfinished. Told once, at the start. No answer."""


class TrackRecordsLoaded(Message, frozen=True):
    """The newest track records; ``all_of_them`` is false if there are more. ``barred`` is complete."""

    records: tuple[WorkerRecord, ...]
    all_of_them: bool
    barred: tuple[str, ...]


class LoadWorkerRecord(Message, frozen=True):
    """Find the record of one worker key. Answer: :class:`WorkerRecordLoaded`."""

    pubkey: str


class WorkerRecordLoaded(Message, frozen=True):
    """What is stored of a worker key, if anything is."""

    pubkey: str
    record: WorkerRecord | None


class PutWorkerRecords(Message, frozen=True):
    """Keep track records in place of earlier ones. No answer."""

    records: tuple[WorkerRecord, ...]


class RecordBarred(Message, frozen=True):
    """A key may not take part any more. No answer."""

    pubkey: str
    reason: str


class InsertAudit(Message, frozen=True):
    """Keep a job that repeats the completed job ``audit_of``. No answer."""

    job_id: str
    audit_of: str
    window: DurationMs
    lease: DurationMs


class JudgeAudit(Message, frozen=True):
    """Compare the outputs of jobs, the first of which is audited. Answer: :class:`AuditJudged`."""

    job_id: str
    job_ids: tuple[str, ...]


class AuditJudged(Message, frozen=True):
    """A number for each output, equal for equal ones; none at all if one of them is not there any more."""

    job_id: str
    groups: tuple[int, ...]
