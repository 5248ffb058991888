"""A commit is paid for once, whatever happens to its requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute_router.protocol.errors import IdempotencyConflictError
from compute_router.protocol.networks import Chain
from compute_router.sdk import (
    CoordinatorFailedError,
    PaymentPlan,
    PaymentRefusedError,
    SubmissionUnknownError,
    Wallet,
    WalletError,
)
from compute_router.sdk.purse_file import PurseFile, SentPayment
from tests.fakes.http_coordinator import LostAnswer, busy
from tests.fakes.till import PRICE
from tests.sdk.clients import blocking
from tests.sdk.paying import BROKEN, both_chains, classify, sent, shop


@both_chains
def test_a_commit_whose_answer_was_lost_is_repeated_with_the_same_payment(
    chain: Chain, wallets: Callable[[Chain], Wallet]
) -> None:
    coordinator, till = shop(chain)
    coordinator.loses_first_answers = True
    with blocking(coordinator, wallet=wallets(chain)) as router:
        classify(router)
        assert router.spent == PRICE
    first, second = coordinator.committed[1:]
    assert first.headers["payment-signature"] == second.headers["payment-signature"]
    assert (till.signatures, len(coordinator.taken)) == (1, 1)


def test_a_coordinator_that_is_busy_gets_the_same_payment_later(evm: Wallet) -> None:
    coordinator, till = shop()
    coordinator.commit = [None, busy(503, "1"), busy(429, "1"), None]
    failures: list[str] = []
    with blocking(coordinator, wallet=evm, on_retry=failures.append) as router:
        classify(router)
    assert failures == ["Later.", "Later."]
    payments = {each.headers["payment-signature"] for each in coordinator.committed[1:]}
    assert (len(payments), till.signatures) == (1, 1)


def test_after_an_unknown_end_the_same_key_sends_the_same_payment(evm: Wallet) -> None:
    coordinator, _ = shop()
    coordinator.commit = [None, BROKEN]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(SubmissionUnknownError) as caught:
            classify(router, timeout_s=1.0)
        coordinator.commit = None
        classify(router, idempotency_key=caught.value.idempotency_key)
        assert router.spent == PRICE
    payments = {each.headers["payment-signature"] for each in coordinator.committed[1:]}
    assert (len(payments), len(coordinator.taken)) == (1, 1)


def test_of_a_key_that_may_have_paid_before_only_this_attempt_is_said_to_have_paid_nothing(
    evm: Wallet,
) -> None:
    coordinator, _ = shop()
    coordinator.commit = [None, BROKEN]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(SubmissionUnknownError) as caught:
            classify(router, timeout_s=1.0)
        coordinator.commit = [busy(503, "100")]
        with pytest.raises(CoordinatorFailedError) as again:
            classify(router, idempotency_key=caught.value.idempotency_key)
    assert len(coordinator.taken) == 1
    assert str(again.value) == "Later. This attempt paid nothing."


def test_another_program_with_the_same_key_sends_the_same_payment(evm: Wallet) -> None:
    coordinator, till = shop()
    coordinator.commit = [None, busy(503, "100")]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(CoordinatorFailedError):
        classify(router, idempotency_key="order-7")
    coordinator.commit = None
    with blocking(coordinator, wallet=evm) as another:
        classify(another, idempotency_key="order-7")
        assert another.spent == 0
    assert sent(coordinator) == ["nothing", "payment", "payment"]
    payments = {each.headers["payment-signature"] for each in coordinator.committed[1:]}
    assert (len(payments), till.signatures) == (1, 1)


def test_a_payment_that_may_still_be_carried_out_by_another_clock_is_the_only_one_of_its_commit(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    coordinator, till = shop()
    coordinator.commit = [None, busy(503, "100")]
    with blocking(coordinator, wallet=evm) as same, blocking(coordinator, wallet=evm) as another:
        with pytest.raises(CoordinatorFailedError):
            classify(same, idempotency_key="order-7")
        coordinator.commit = None
        now[0] += till.offered.requirement["maxTimeoutSeconds"] + 170
        for router in (same, another):
            with pytest.raises(PaymentRefusedError) as caught:
                classify(router, idempotency_key="order-7")
            assert caught.value.reason == "payment_expired"
        payments = {each.headers.get("payment-signature") for each in coordinator.committed} - {None}
        assert len(payments) == 1
        now[0] += 20
        classify(same, idempotency_key="order-7")
    assert till.signatures == 1


@pytest.mark.parametrize("end", [BROKEN, httpx.ReadError("reset")], ids=["taken", "not taken"])
def test_a_program_without_a_wallet_can_end_what_another_began(
    evm: Wallet, end: LostAnswer | httpx.ReadError
) -> None:
    coordinator, _ = shop()
    coordinator.commit = [None, end]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(SubmissionUnknownError) as caught:
        classify(router, timeout_s=1.0)
    coordinator.commit = None
    with blocking(coordinator) as another:
        classify(another, idempotency_key=caught.value.idempotency_key)
    assert set(sent(coordinator)[1:]) == {"payment"}
    payments = {each.headers["payment-signature"] for each in coordinator.committed[1:]}
    assert (len(payments), len(coordinator.taken)) == (1, 1)


def test_a_client_whose_purse_was_taken_away_sends_the_payment_that_it_signed(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, till = shop()
    coordinator.commit = [None, busy(503, "100")]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(CoordinatorFailedError):
            classify(router, idempotency_key="order-7")
        purse.path.unlink()
        coordinator.commit = None
        classify(router, idempotency_key="order-7")
        assert router.spent == PRICE
    payments = {each.headers["payment-signature"] for each in coordinator.committed[1:]}
    assert (len(payments), till.signatures) == (1, 1)


def test_a_coordinator_that_signs_no_quotes_gets_one_payment_for_a_key_all_the_same(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, till = shop(quoted=False)
    coordinator.commit = [None, busy(503, "100"), None]
    signed: list[object] = []
    sign = Wallet.sign

    def counted(wallet: Wallet, wanted: dict[str, Any]) -> dict[str, Any]:
        signed.append(wanted)
        return sign(wallet, wanted)

    monkeypatch.setattr(Wallet, "sign", counted)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(CoordinatorFailedError):
            classify(router, idempotency_key="order-7")
        classify(router, idempotency_key="order-7")
    assert (len(signed), till.signatures, router.spent) == (1, 1, PRICE)


def test_a_key_that_paid_for_one_job_pays_for_no_other(evm: Wallet) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router, idempotency_key="order-7")
        with pytest.raises(IdempotencyConflictError):
            router.run_task("classify", "Another text.", idempotency_key="order-7")
    assert (till.signatures, len(coordinator.taken)) == (1, 1)


def test_a_second_402_is_not_paid_again(evm: Wallet) -> None:
    coordinator, till = shop(refuse="payment_required")
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(PaymentRefusedError) as caught:
            classify(router, idempotency_key="order-7")
        assert caught.value.reason == "payment_required"
        with pytest.raises(PaymentRefusedError):
            classify(router, idempotency_key="order-7")
        assert router.spent == PRICE
    assert till.signatures == 1


@pytest.mark.parametrize("code", ["payment_already_used", "insufficient_funds", "payment_refused"])
def test_a_refusal_of_the_payment_says_its_code(evm: Wallet, code: str) -> None:
    coordinator, till = shop(refuse=code)
    with blocking(coordinator, wallet=evm) as router, pytest.raises(PaymentRefusedError) as caught:
        classify(router)
    assert (caught.value.reason, till.signatures) == (code, 1)


@pytest.mark.parametrize(
    ("code", "hinted"),
    [("insufficient_funds", True), ("payment_refused", True), ("payment_expired", False)],
)
def test_a_refusal_that_may_be_for_want_of_money_says_how_to_look(
    evm: Wallet, code: str, hinted: bool
) -> None:
    coordinator, _ = shop(refuse=code)
    with blocking(coordinator, wallet=evm) as router, pytest.raises(PaymentRefusedError) as caught:
        classify(router)
    assert ("compute-router wallet balance" in str(caught.value)) == hinted


def test_threads_with_one_key_send_one_payment(evm: Wallet) -> None:
    coordinator, _ = shop()
    both_asked = threading.Barrier(2)

    def agree(plan: PaymentPlan) -> bool:
        both_asked.wait(10)
        return True

    with blocking(coordinator, wallet=evm, before_payment=agree) as router:
        threads = [
            threading.Thread(target=classify, args=(router,), kwargs={"idempotency_key": "order-7"})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert router.spent == PRICE
    payments = {each.headers.get("payment-signature") for each in coordinator.committed} - {None}
    assert (len(payments), len(coordinator.taken)) == (1, 1)


def test_a_payment_that_a_thread_put_into_the_purse_for_another_is_counted_once(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = PurseFile.put_payment

    def put_by_two(self: PurseFile, key: str, sent: SentPayment) -> SentPayment:
        put(self, key, sent)
        return put(self, key, sent)

    monkeypatch.setattr(PurseFile, "put_payment", put_by_two)
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router, idempotency_key="order-7")
        assert router.spent == PRICE
    assert till.signatures == 1


def test_a_purse_that_cannot_be_written_stops_a_named_payment_before_it_is_sent(
    evm: Wallet, trust_path: Path
) -> None:
    trust_path.parent.parent.joinpath("trust").touch()
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(WalletError, match="purse"):
            classify(router, idempotency_key="order-7")
        assert router.spent == 0
    assert "payment" not in sent(coordinator)
