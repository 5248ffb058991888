"""Coordinators, and a payout program, that break one promise about money: some seed must notice each."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from compute_router.actors import payment_requests, store_requests
from compute_router.protocol import ledger
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import Consequence
from compute_router.protocol.payment_state import PaymentEvent, PaymentState
from compute_router.protocol.payments import Payment, PaymentView, StillOpen
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.payout_state import PayoutState
from compute_router.storage.interface import NewJob
from compute_router.storage.sqlite_store import SqliteStore
from compute_router.transport.http_types import Request
from compute_router.transport.payer.paying import PayoutRun
from compute_router.transport.payments.checkout import Checkout
from tests.chaos.journal import Violation
from tests.chaos.money import Line
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.runs import simulation

PAID_SEEDS = range(1, 120, 2)


def first_violation(directory: Path) -> str:
    for seed in PAID_SEEDS:
        try:
            simulation(seed, directory)
        except Violation as violation:
            return str(violation).partition("\n")[0]
    return "none"


@pytest.fixture(autouse=True)
def quiet(expected_errors: list[logging.LogRecord]) -> None:
    """Errors are logged on purpose here."""


def test_one_that_settles_at_the_commit_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    take = Checkout.payment

    async def greedy(self: Checkout, request: Request, job: NewJob, *more: Any) -> Any:
        new = await take(self, request, job, *more)
        if new.spends is None:
            fields = {name: getattr(new, name) for name in new.__struct_fields__}
            line: Any = self._facilitator
            assert isinstance(line, Line)
            line._bank.carry_out(Payment(job_id=job.job_id, state=PaymentState.RESERVED, **fields))
        return new

    monkeypatch.setattr(Checkout, "payment", greedy)
    found = first_violation(tmp_path)
    assert MoneyPromise.DELIVERED.value in found or MoneyPromise.NOT_TWICE.value in found


def test_one_that_forgets_a_credit_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(payment_requests, "_keep_credit", lambda store, payment, now: None)
    assert MoneyPromise.CREDITS.value in first_violation(tmp_path)


def test_one_that_takes_a_token_twice_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(SqliteStore, "spend_credit", lambda self, token, payer, amount: True)
    assert MoneyPromise.CREDITS.value in first_violation(tmp_path)


def test_one_that_does_not_credit_the_worker_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store_requests, "book_completion", lambda store, view, pubkey, now: view)
    assert MoneyPromise.WORKERS.value in first_violation(tmp_path)


def test_one_that_does_not_book_a_settlement_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forgetful(payment: PaymentView, event: PaymentEvent, job: JobStatus) -> Consequence:
        follows = ledger.after_step(payment, event, job)
        # The settlement's own journal comes first; that of a credit is written all the same.
        booked = Consequence(follows.steps, follows.journals[1:])
        return booked if event is PaymentEvent.CONFIRM else follows

    monkeypatch.setattr(payment_requests, "after_step", forgetful)
    found = first_violation(tmp_path)
    assert MoneyPromise.ZERO.value in found or MoneyPromise.CHAIN.value in found


def test_a_payout_that_is_signed_anew_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bring_on = PayoutRun._bring_on

    async def careless(self: PayoutRun, payouts: list[OpenPayout]) -> None:
        for payout in payouts:
            if payout.transaction_data is not None and isinstance(
                await self._purse.outcome(payout), StillOpen
            ):
                again: Any = await self._purse.prepare(_as_if_new(payout), [])
                await self._purse.send(again.transaction_data)
        await bring_on(self, payouts)

    monkeypatch.setattr(PayoutRun, "_bring_on", careless)
    found = first_violation(tmp_path)
    assert MoneyPromise.PAYOUTS.value in found or MoneyPromise.CHAIN.value in found


def _as_if_new(payout: OpenPayout) -> OpenPayout:
    fields = {name: getattr(payout, name) for name in payout.__struct_fields__}
    return OpenPayout(**fields | {"state": PayoutState.RECORDED, "transaction_data": None})
