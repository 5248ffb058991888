"""A receipt names the settlement of its job's payment, whichever of the two comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.messages.job_store import (
    GetJob,
    GetReceipt,
    KeepReceipt,
    RecordAssigned,
    RecordCompletion,
)
from compute_router.actors.messages.payment_steps import (
    PaymentRecorded,
    RecordPaymentAsked,
    RecordPaymentConfirmed,
    RecordPaymentRefused,
)
from compute_router.protocol.receipts import public_key_hex, sign_receipt
from compute_router.storage.interface import JobView, StoredReceipt
from tests.actors.samples import NOON, OUTPUT, completion
from tests.actors.test_payment_requests import LEASE, Office

WORKER_KEY = SigningKey(b"w" * 32)
WORKER = public_key_hex(WORKER_KEY)
SIGNED = sign_receipt(WORKER_KEY, "job", OUTPUT, NOON)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "jobs.db")
    office.commit()
    yield office
    assert office.problems() == []
    office.store.close()


def complete(office: Office, *, with_receipt: bool = True) -> JobView:
    frame = completion("job")
    if with_receipt:
        raw = msgspec.Raw(SIGNED.receipt_json)
        frame = msgspec.structs.replace(frame, receipt=raw, receipt_signature=SIGNED.signature)
    office.do(RecordAssigned("job", 1, WORKER, LEASE))
    view = office.do(RecordCompletion(5, WORKER, 1, frame)).view
    assert isinstance(view, JobView)
    return view


def receipt_of(view: JobView | None) -> StoredReceipt:
    assert view is not None
    assert view.receipt is not None
    assert view.receipt.receipt_json == SIGNED.receipt_json, "what the worker signed is never touched"
    return view.receipt


def kept(office: Office) -> StoredReceipt:
    assert office.do(GetReceipt("job")).view == office.do(GetJob("job"))
    return receipt_of(office.do(GetJob("job")))


def test_a_settlement_after_the_completion_is_written_on_the_receipt_with_it(office: Office) -> None:
    assert receipt_of(complete(office)).payment_ref is None
    told = office.settle()
    assert receipt_of(told.view).payment_ref == "0xabc"
    assert kept(office).payment_ref == "0xabc"


def test_a_receipt_after_an_early_settlement_names_it_from_the_start(office: Office) -> None:
    office.settle()
    assert receipt_of(complete(office)).payment_ref == "0xabc"
    assert kept(office).payment_ref == "0xabc"


@pytest.mark.parametrize("settled_first", [True, False])
def test_a_receipt_that_comes_apart_from_its_result_names_the_settlement_too(
    office: Office, settled_first: bool
) -> None:
    complete(office, with_receipt=False)
    late = KeepReceipt(5, WORKER, SIGNED.receipt_json, SIGNED.signature)
    if settled_first:
        office.settle()
        office.do(late)
    else:
        office.do(late)
        office.settle()
    assert kept(office).payment_ref == "0xabc"


def test_a_second_answer_about_a_settlement_does_not_rename_it(office: Office) -> None:
    complete(office)
    office.settle()
    answer = office.do(RecordPaymentConfirmed("pay-1", "0xother"))
    assert isinstance(answer, PaymentRecorded)
    assert receipt_of(answer.view).payment_ref == "0xabc"
    assert kept(office).payment_ref == "0xabc"


def test_a_refused_settlement_leaves_the_receipt_without_one(office: Office) -> None:
    complete(office)
    office.do(RecordPaymentAsked("pay-1"), RecordPaymentRefused("pay-1", "no"))
    assert kept(office).payment_ref is None
