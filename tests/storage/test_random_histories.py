from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from compute_router.protocol.failures import Failure
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import LOCKED, DayQuota, IdempotencyKey, StoredReceipt
from tests.storage.samples import NOON, a_job, a_receipt, an_api_key
from tests.storage.two_stores import HistoriesOfTwoStores

# Few of each, so that random histories meet the same job, worker and code again and again.
JOB_IDS = st.sampled_from(["job-1", "job-2", "job-3"])
ATTEMPTS = st.integers(0, 3)
PUBKEYS = st.sampled_from(["a" * 64, "b" * 64])
USERS = st.sampled_from(["alice", "böb"])
KEYS = st.builds(IdempotencyKey, st.sampled_from(["one", "two"]), st.sampled_from(["a" * 64, "b" * 64]))
KEY_IDS = st.sampled_from(["key-1", "key-2"])
# Some share a head, by which wrong tries are counted.
CODES = st.sampled_from(["ONE", "THREE", "THREEFOLD", "THREESOME"])
TOKEN_HASHES = st.sampled_from(["c" * 64, "d" * 64, LOCKED])
MOMENTS = st.integers(NOON, NOON + 5).map(UnixMs)
JSON_BYTES = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
RECEIPTS = st.builds(
    lambda pubkey, text, verified: a_receipt(provider_pubkey=pubkey, receipt_json=text, verified=verified),
    PUBKEYS,
    JSON_BYTES,
    st.booleans(),
)


class HistoriesOnSqliteAndInMemory(HistoriesOfTwoStores):
    """Whatever happens in whatever order, SQLite and the reference answer the same."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: set[str] = set()

    @rule(
        job_id=JOB_IDS,
        user_id=USERS,
        payload=JSON_BYTES,
        job_type=st.sampled_from(JobType),
        tier=st.sampled_from(Tier),
        privacy_class=st.sampled_from(PrivacyClass),
        model=st.none() | st.just("llama3.2:3b"),
        created_at=MOMENTS,
        queue_deadline=MOMENTS,
        run_limit=st.none() | st.integers(1, 9).map(DurationMs),
        key=st.none() | KEYS,
    )
    def commit(self, job_id: str, key: IdempotencyKey | None, **fields: object) -> None:
        if self._reference.job_view(job_id) is None:
            self._both(lambda store: store.insert_job(a_job(job_id, **fields), key))

    @rule(job_id=JOB_IDS, attempt=ATTEMPTS, pubkey=PUBKEYS, lease_deadline=MOMENTS)
    def assign(self, job_id: str, attempt: int, pubkey: str, lease_deadline: UnixMs) -> None:
        self._both(lambda store: store.assign_job(job_id, attempt, pubkey, lease_deadline))

    @rule(job_id=JOB_IDS, attempt=ATTEMPTS)
    def start(self, job_id: str, attempt: int) -> None:
        self._both(lambda store: store.start_job(job_id, attempt))

    @rule(
        job_id=JOB_IDS,
        attempt=ATTEMPTS,
        reason=st.sampled_from(Failure),
        deadline=MOMENTS,
        keep_tried=st.booleans(),
        counts=st.booleans(),
    )
    def requeue(
        self, job_id: str, attempt: int, reason: Failure, deadline: UnixMs, keep_tried: bool, counts: bool
    ) -> None:
        self._both(
            lambda store: store.requeue_job(
                job_id, attempt, reason, deadline, keep_tried=keep_tried, counts=counts
            )
        )

    @rule(job_id=JOB_IDS, attempt=ATTEMPTS, pubkey=PUBKEYS, result=JSON_BYTES, at=MOMENTS)
    def complete(self, job_id: str, attempt: int, pubkey: str, result: bytes, at: UnixMs) -> None:
        self._both(lambda store: store.complete_job(job_id, attempt, pubkey, result, at))

    @rule(job_id=JOB_IDS, attempt=ATTEMPTS, result=JSON_BYTES, at=MOMENTS)
    def fail(self, job_id: str, attempt: int, result: bytes, at: UnixMs) -> None:
        self._both(lambda store: store.fail_job(job_id, attempt, result, at))

    @rule(job_id=JOB_IDS, result=JSON_BYTES, at=MOMENTS)
    def cancel(self, job_id: str, result: bytes, at: UnixMs) -> None:
        self._both(lambda store: store.cancel_job(job_id, result, at))

    @rule(before=MOMENTS)
    def delete_finished(self, before: UnixMs) -> None:
        # All at once: which of those that ended in the same millisecond goes first is nobody's business.
        self._both(lambda store: store.delete_finished(before, 100))

    @rule(before=MOMENTS)
    def forget_keys(self, before: UnixMs) -> None:
        self._both(lambda store: store.delete_idempotency_keys(before, 100))

    @rule(now=MOMENTS)
    def note_alive(self, now: UnixMs) -> None:
        self._both(lambda store: store.note_alive(now))

    @rule(job_id=JOB_IDS, receipt=RECEIPTS, at=MOMENTS)
    def put_receipt(self, job_id: str, receipt: StoredReceipt, at: UnixMs) -> None:
        if self._reference.job_view(job_id) is not None:
            self._both(lambda store: store.put_receipt(job_id, receipt, at))

    @rule(user_id=USERS, code=CODES, created_at=MOMENTS, expires_at=MOMENTS)
    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        if code not in self._codes:
            self._codes.add(code)
            self._both(lambda store: store.create_pairing(user_id, code, created_at, expires_at))

    @rule(code=CODES, pubkey=PUBKEYS, now=MOMENTS, signed=st.booleans())
    def claim_pairing(self, code: str, pubkey: str, now: UnixMs, signed: bool) -> None:
        self._both(lambda store: store.claim_pairing(code, pubkey, now, signed=signed))

    @rule(user_id=USERS, pubkey=PUBKEYS)
    def revoke_pairing(self, user_id: str, pubkey: str) -> None:
        self._both(lambda store: store.revoke_pairing(user_id, pubkey))

    @rule(user_id=USERS, token_hash=TOKEN_HASHES, at=MOMENTS)
    def put_owner(self, user_id: str, token_hash: str, at: UnixMs) -> None:
        self._both(lambda store: store.put_owner(user_id, token_hash, at))
        self._both(lambda store: store.owner(user_id))

    @rule(user_id=USERS, now=MOMENTS)
    def count_open_codes(self, user_id: str, now: UnixMs) -> None:
        self._both(lambda store: store.open_codes(user_id, now))

    @rule(before=MOMENTS)
    def delete_dead_codes(self, before: UnixMs) -> None:
        self._both(lambda store: store.delete_dead_codes(before, 100))

    @rule(key_id=KEY_IDS, per_day=st.none() | st.integers(1, 3), created_at=MOMENTS)
    def put_api_key(self, key_id: str, per_day: int | None, created_at: UnixMs) -> None:
        if key_id not in self._key_ids():
            key = an_api_key(key_id, jobs_per_day=per_day, created_at=created_at)
            self._both(lambda store: store.put_api_key(key))

    @rule(key_id=KEY_IDS, now=MOMENTS)
    def revoke_api_key(self, key_id: str, now: UnixMs) -> None:
        self._both(lambda store: store.revoke_api_key(key_id, now))

    @rule(key_id=KEY_IDS, day=st.integers(1, 3), jobs=st.integers(1, 3))
    def count_key_job(self, key_id: str, day: int, jobs: int) -> None:
        if key_id in self._key_ids():
            self._both(lambda store: store.count_key_job(DayQuota(key_id, day, jobs)))

    def _key_ids(self) -> set[str]:
        return {key.key_id for key in self._reference.api_keys()}

    @invariant()
    def both_show_the_same(self) -> None:
        assert list(self._sqlite.unfinished_jobs()) == list(self._reference.unfinished_jobs())
        assert self._sqlite.api_keys() == self._reference.api_keys()
        assert self._sqlite.last_alive() == self._reference.last_alive()
        for job_id in ("job-1", "job-2", "job-3"):
            assert self._sqlite.job_view(job_id) == self._reference.job_view(job_id)
            assert self._sqlite.completed_by(job_id) == self._reference.completed_by(job_id)
        for user_id in ("alice", "böb"):
            assert self._sqlite.pairings(user_id) == self._reference.pairings(user_id)
            assert set(self._sqlite.trusted_pubkeys(user_id)) == set(self._reference.trusted_pubkeys(user_id))


TestRandomHistories = HistoriesOnSqliteAndInMemory.TestCase
