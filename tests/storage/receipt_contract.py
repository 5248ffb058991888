"""What every store must do with receipts; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.storage.interface import Store
from tests.storage.job_steps import AWKWARD_JSON, bring_to, view
from tests.storage.samples import NOON, PHONE, a_receipt, later


class ReceiptContract:
    """Receipts are kept as they came."""

    constraint_error: ClassVar[type[Exception]]

    def test_a_receipt_is_part_of_the_view(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        receipt = a_receipt(receipt_json=b'{ "job_id":"job-1", "x":1.0e5 }', signature="YWJj+/==")
        with store.transaction():
            assert store.put_receipt("job-1", receipt, later(6))
        assert view(store).receipt == receipt

    @pytest.mark.parametrize("receipt_json", AWKWARD_JSON)
    def test_a_receipt_comes_back_byte_for_byte(self, store: Store, receipt_json: bytes) -> None:
        bring_to(store, JobStatus.COMPLETED)
        with store.transaction():
            store.put_receipt("job-1", a_receipt(receipt_json=receipt_json), later(6))
        assert view(store).receipt == a_receipt(receipt_json=receipt_json)

    def test_a_verified_receipt_takes_the_place_of_an_unverified_one(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        stub, real = (
            a_receipt(verified=False, signature="c3R1Yg==", provider_pubkey=PHONE, receipt_json=b"{}"),
            a_receipt(),
        )
        with store.transaction():
            assert store.put_receipt("job-1", stub, later(6))
            assert store.put_receipt("job-1", real, later(7))
        assert view(store).receipt == real

    @pytest.mark.parametrize(
        ("first_verified", "second_verified"), [(True, True), (True, False), (False, False)]
    )
    def test_no_other_receipt_takes_the_place_of_the_first(
        self, store: Store, first_verified: bool, second_verified: bool
    ) -> None:
        bring_to(store, JobStatus.COMPLETED)
        first = a_receipt(verified=first_verified)
        with store.transaction():
            assert store.put_receipt("job-1", first, later(6))
            assert not store.put_receipt(
                "job-1", a_receipt(verified=second_verified, signature="b3RoZXI="), later(7)
            )
        assert view(store).receipt == first

    def test_a_settlement_is_named_on_the_receipt_that_is_there(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        with store.transaction():
            assert not store.name_settlement("job-1", "0xearly"), "there is none yet"
            store.put_receipt("job-1", a_receipt(verified=False), later(6))
            assert store.name_settlement("job-1", "0xabc")
            assert not store.name_settlement("job-1", "0xother"), "a settlement is named once"
        assert view(store).receipt == a_receipt(verified=False, payment_ref="0xabc")
        with store.transaction():
            store.put_receipt("job-1", a_receipt(), later(7))
        assert view(store).receipt == a_receipt(payment_ref="0xabc"), "a better receipt keeps it"

    def test_a_receipt_that_comes_after_its_settlement_names_it_from_the_start(self, store: Store) -> None:
        bring_to(store, JobStatus.COMPLETED)
        receipt = a_receipt(payment_ref="0xabc")
        with store.transaction():
            store.put_receipt("job-1", receipt, later(6))
        assert view(store).receipt == receipt

    def test_a_receipt_of_an_unknown_job_is_refused(self, store: Store) -> None:
        with pytest.raises(self.constraint_error), store.transaction():
            store.put_receipt("nobody", a_receipt(), NOON)
