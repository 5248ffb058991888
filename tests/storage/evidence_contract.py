"""What every store must do with evidence against workers; a part of the contract."""

from __future__ import annotations

from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import Evidence, Store
from tests.storage.samples import DESKTOP, NOON, PHONE, a_job, insert, later


def a_piece(
    job_id: str = "job-1",
    *,
    by: str = DESKTOP,
    receipt: bytes | None = b'{"job_id": "\\u00e9"}',
    at: UnixMs = NOON,
) -> Evidence:
    """A completion whose signature was wrong."""
    return Evidence(
        job_id=job_id,
        attempt=2,
        worker_pubkey=by,
        reason="bad_signature",
        output_hash="a" * 64,
        receipt_json=receipt,
        signature=None if receipt is None else "stub",
        created_at=at,
    )


def keep(store: Store, *pieces: Evidence, most: int = 100) -> list[bool]:
    """Keep evidence; whether each piece was kept."""
    with store.transaction():
        return [store.put_evidence(piece, most) for piece in pieces]


class EvidenceContract:
    """Run for each store, as :class:`tests.storage.contract.StoreContract`."""

    def test_evidence_is_kept_byte_for_byte_in_the_order_of_arrival(self, store: Store) -> None:
        pieces = a_piece("one", at=later(5)), a_piece("two"), a_piece("three", receipt=None)
        assert keep(store, *pieces) == [True, True, True]
        assert store.evidence(DESKTOP) == pieces

    def test_evidence_is_kept_for_each_worker_by_itself(self, store: Store) -> None:
        keep(store, a_piece(by=DESKTOP), a_piece(by=PHONE))
        assert store.evidence(PHONE) == (a_piece(by=PHONE),)
        assert store.evidence("c" * 64) == ()

    def test_no_more_evidence_is_kept_against_one_worker_than_asked_for(self, store: Store) -> None:
        assert keep(store, *(a_piece(str(number)) for number in range(3)), most=2) == [True, True, False]
        assert keep(store, a_piece(by=PHONE), most=2) == [True]
        assert [piece.job_id for piece in store.evidence(DESKTOP)] == ["0", "1"]

    def test_evidence_needs_no_job_because_it_may_outlive_it(self, store: Store) -> None:
        assert keep(store, a_piece("deleted long ago")) == [True]

    def test_evidence_from_before_a_time_is_deleted_oldest_first(self, store: Store) -> None:
        keep(store, *(a_piece(str(at), at=later(at)) for at in (3, 1, 2)))
        with store.transaction():
            assert store.delete_evidence(later(3), 1) == 1
        assert [piece.job_id for piece in store.evidence(DESKTOP)] == ["3", "2"]
        with store.transaction():
            assert store.delete_evidence(later(3), 10) == 1
            assert store.delete_evidence(later(3), 10) == 0
        assert [piece.job_id for piece in store.evidence(DESKTOP)] == ["3"]

    def test_a_payload_can_be_read_again_byte_for_byte(self, store: Store) -> None:
        insert(store, a_job())
        assert store.job_payload("job-1") == a_job().payload
        assert store.job_payload("another") is None
