"""A client that pays by itself: once for each job, as quoted, and only as it may sign."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from solders.keypair import Keypair

from compute_router.protocol.errors import ComputeRouterError, IdempotencyConflictError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.sdk import (
    ClassificationResult,
    ComputeRouter,
    CoordinatorFailedError,
    JobFailedError,
    JobTimeoutError,
    PaymentPlan,
    PaymentRefusedError,
    PaymentRequiredError,
    PriceMismatchError,
    SpendingCapError,
    SpendingCaps,
    SubmissionUnknownError,
    TaskJob,
    UnacceptableOfferError,
    Wallet,
    WalletError,
)
from compute_router.sdk.purse_file import PurseFile, SentPayment
from tests.fakes.http_coordinator import (
    JOB_ID,
    RUNNING,
    FakeCoordinator,
    Headed,
    LostAnswer,
    busy,
    completed,
    job_answer,
)
from tests.fakes.till import (
    FEE_PAYER,
    OTHER_TOKEN,
    PAY_TO,
    PRICE,
    TOKEN,
    FakeTill,
    failed_paid,
    paid_answer,
)
from tests.sdk.clients import URL, asynchronous, blocking

OUTPUT = b'{"sentiment":"positive","confidence":0.9}'
BROKEN = LostAnswer(httpx.ReadError("reset"))
both_chains = pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A node of Solana, which wallets ask for a blockhash."""
    from tools.local_chains.solana import LocalSolana

    with LocalSolana() as chain:
        yield chain.rpc_url


@pytest.fixture
def wallets(node: str) -> Callable[[Chain], Wallet]:
    def wallet(chain: Chain) -> Wallet:
        if chain is Chain.MONAD:
            return Wallet(chain, bytes([9] * 32))
        key = SigningKey(bytes([9] * 32))
        return Wallet(chain, bytes(key) + bytes(key.verify_key), node)

    return wallet


@pytest.fixture
def evm() -> Wallet:
    return Wallet(Chain.MONAD, bytes([9] * 32))


@pytest.fixture
def purse(trust_path: Path) -> PurseFile:
    """What the client keeps, as another program sees it."""
    return PurseFile(trust_path.with_name("purse.json"), URL, lambda: 0.0)


def shop(chain: Chain = Chain.MONAD, **till: Any) -> tuple[FakeCoordinator, FakeTill]:
    """A coordinator that is paid and does its jobs."""
    taker = FakeTill(chain, **till)
    done = paid_answer(completed(OUTPUT), chain=chain)
    return FakeCoordinator(about_job=[done], chain=chain, till=taker), taker


def classify(router: ComputeRouter, **options: Any) -> ClassificationResult:
    result: ClassificationResult = router.run_task("classify", "A wonderful phone.", **options)
    return result


def sent(coordinator: FakeCoordinator) -> list[str]:
    """How each commit was paid for, in order."""
    names = {"payment-signature": "payment", "payment-credit": "credit"}
    return [
        next((name for header, name in names.items() if header in each.headers), "nothing")
        for each in coordinator.committed
    ]


# Paying


@both_chains
def test_a_job_is_paid_for_in_one_call(chain: Chain, wallets: Callable[[Chain], Wallet]) -> None:
    coordinator, till = shop(chain)
    wallet = wallets(chain)
    with blocking(coordinator, wallet=wallet) as router:
        result = classify(router)
        assert router.spent == PRICE
    assert result.verified
    assert result.payment is not None
    assert (result.payment.state, result.payment.amount) == (PaymentState.SETTLED, PRICE)
    assert result.payment.transaction_ref == "0xfeed"
    assert sent(coordinator) == ["nothing", "payment"]
    assert till.signatures == 1
    assert till.payers[0].lower() == wallet.address.lower()


@both_chains
def test_a_job_is_paid_for_from_asyncio(chain: Chain, wallets: Callable[[Chain], Wallet]) -> None:
    coordinator, till = shop(chain)

    async def run() -> None:
        async with asynchronous(coordinator, wallet=wallets(chain)) as router:
            result = await router.run_task("classify", "A wonderful phone.")
            assert (result.payment is not None, router.spent) == (True, PRICE)
            assert await router.credits() == []

    asyncio.run(run())
    assert till.signatures == 1


def test_signing_and_asking_happen_off_the_event_loop() -> None:
    coordinator, _ = shop()
    threads: list[threading.Thread] = []

    def agree(plan: PaymentPlan) -> bool:
        threads.append(threading.current_thread())
        return True

    class Watched(Wallet):
        def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
            threads.append(threading.current_thread())
            return super().sign(requirement)

    wallet = Watched(Chain.MONAD, bytes([9] * 32))

    async def run() -> None:
        async with asynchronous(coordinator, wallet=wallet, before_payment=agree) as router:
            await router.run_task("classify", "A wonderful phone.")

    asyncio.run(run())
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_each_job_has_a_payment_of_its_own(evm: Wallet) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        classify(router)
        assert router.spent == 2 * PRICE
    assert till.signatures == 2


def test_a_free_job_needs_no_purse_and_says_of_no_payment(evm: Wallet, trust_path: Path) -> None:
    coordinator = FakeCoordinator(about_job=[completed(OUTPUT)])
    with blocking(coordinator, wallet=evm) as router:
        assert classify(router).payment is None
        assert router.spent == 0
    assert not trust_path.parent.exists()


# Without anything to pay with


def test_without_a_wallet_the_error_says_what_to_do() -> None:
    coordinator, till = shop()
    with blocking(coordinator) as router, pytest.raises(PaymentRequiredError) as caught:
        classify(router)
    for word in ("$0.001", "Monad testnet", "--wallet", "compute-router wallet create --chain monad"):
        assert word in str(caught.value)
    assert till.payments == []


def test_a_wallet_of_another_chain_does_not_pay(evm: Wallet) -> None:
    coordinator, _ = shop(Chain.SOLANA)
    with blocking(coordinator, wallet=evm) as router, pytest.raises(PaymentRequiredError, match="Solana"):
        classify(router)
    assert sent(coordinator) == ["nothing"]


def test_a_402_of_something_else_than_x402_is_not_paid(evm: Wallet) -> None:
    coordinator = FakeCoordinator(commit=(402, b'{"error":"payment_required"}'))
    with blocking(coordinator, wallet=evm) as router, pytest.raises(PaymentRequiredError):
        classify(router)
    assert sent(coordinator) == ["nothing"]


def test_a_wallet_without_its_packages_says_what_to_install(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "x402.mechanisms.evm.exact", None)
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(WalletError, match=r"compute-router\[payments\]"):
            classify(router)
        assert router.spent == 0


def test_a_node_that_does_not_answer_stops_a_payment_before_it_is_sent() -> None:
    coordinator, _ = shop(Chain.SOLANA)
    key = SigningKey(bytes([9] * 32))
    secret_url = "http://127.0.0.1:9/?api-key=secret"
    wallet = Wallet(Chain.SOLANA, bytes(key) + bytes(key.verify_key), secret_url)
    with blocking(coordinator, wallet=wallet) as router:
        with pytest.raises(WalletError, match="--rpc-url") as caught:
            classify(router)
        assert router.spent == 0
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert sent(coordinator) == ["nothing"]


# Caps and the hook


def test_a_job_dearer_than_one_may_be_is_not_paid(evm: Wallet) -> None:
    coordinator, _ = shop()
    caps = SpendingCaps(per_job=PRICE - 1)
    with blocking(coordinator, wallet=evm, spending=caps) as router:
        with pytest.raises(SpendingCapError) as caught:
            classify(router)
        assert (caught.value.price, caught.value.cap, router.spent) == (PRICE, PRICE - 1, 0)
    assert sent(coordinator) == ["nothing"]


def test_a_client_signs_for_no_more_than_its_session_may(evm: Wallet) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=2 * PRICE)) as router:
        classify(router)
        classify(router)
        with pytest.raises(SpendingCapError, match=r"\$0.002"):
            classify(router)
        assert router.spent == 2 * PRICE
    assert till.signatures == 2


def test_threads_together_sign_for_no_more_than_the_session_may(evm: Wallet) -> None:
    coordinator, till = shop()
    outcomes: list[str] = []
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=3 * PRICE)) as router:

        def run() -> None:
            try:
                classify(router)
                outcomes.append("paid")
            except SpendingCapError:
                outcomes.append("refused")

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["paid"] * 3 + ["refused"] * 5
    assert till.signatures == 3


def test_the_default_caps_are_small() -> None:
    assert SpendingCaps() == SpendingCaps(per_job=50_000, per_session=1_000_000)


@pytest.mark.parametrize("cap", [-1, 0.05, "0.05", True, None])
def test_a_cap_is_a_whole_number_of_micro_usd(cap: Any) -> None:
    with pytest.raises(ComputeRouterError, match="micro-USD"):
        SpendingCaps(per_job=cap)


def test_the_hook_sees_the_payment_and_may_agree(evm: Wallet) -> None:
    coordinator, _ = shop()
    plans: list[PaymentPlan] = []

    def agree(plan: PaymentPlan) -> bool:
        plans.append(plan)
        return True

    with blocking(coordinator, wallet=evm, before_payment=agree) as router:
        classify(router)
    (plan,) = plans
    assert (plan.amount, plan.pay_to, plan.network) == (PRICE, PAY_TO[Chain.MONAD], "eip155:10143")
    assert (plan.by_credit, plan.spent, plan.job_type.value) == (False, 0, "TASK")


@pytest.mark.parametrize("said", [False, None, 0, "yes"])
def test_only_true_is_a_yes(evm: Wallet, said: Any) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm, before_payment=lambda plan: said) as router:
        with pytest.raises(PaymentRefusedError) as caught:
            classify(router)
        assert (caught.value.reason, router.spent) == ("declined", 0)
    assert (sent(coordinator), till.payments) == (["nothing"], [])


def test_an_error_of_the_hook_comes_through_and_nothing_is_paid(evm: Wallet) -> None:
    coordinator, _ = shop()

    def fail(plan: PaymentPlan) -> bool:
        raise LookupError("no budget")

    with blocking(coordinator, wallet=evm, before_payment=fail) as router:
        with pytest.raises(LookupError):
            classify(router)
        assert router.spent == 0


# Offers that are not signed


def test_more_than_was_quoted_is_not_signed(evm: Wallet) -> None:
    coordinator, till = shop(price=PRICE + 1)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(PriceMismatchError) as caught:
            classify(router)
        assert router.spent == 0
    assert (caught.value.quoted, caught.value.wanted, till.payments) == (PRICE, PRICE + 1, [])


def test_less_than_was_quoted_is_paid(evm: Wallet) -> None:
    coordinator, _ = shop(price=PRICE - 1)
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        assert router.spent == PRICE - 1


OTHER = {
    Chain.MONAD: {
        "asset": "0x" + "11" * 20,
        "payTo": "0x" + "00" * 20,
        "extra": {"name": "USDC", "version": "2", "assetTransferMethod": "permit2"},
        "network": "eip155:1",
        "maxTimeoutSeconds": 3601,
    },
    Chain.SOLANA: {
        "asset": str(Keypair().pubkey()),
        "payTo": "1" * 32,
        "extra": {"feePayer": FEE_PAYER, "memo": "more"},
        "network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
        "maxTimeoutSeconds": 46,
    },
}
SAME_ON_BOTH = {
    "scheme": "upto",
    "amount": "1e3",
    "another": "key",
}


@pytest.mark.parametrize(
    ("chain", "field", "value"),
    [
        pytest.param(chain, field, value, id=f"{chain.value}-{field}")
        for chain in Chain
        for field, value in (OTHER[chain] | SAME_ON_BOTH).items()
    ],
)
def test_another_payment_than_a_plain_one_of_usdc_is_not_signed(
    chain: Chain, field: str, value: Any, wallets: Callable[[Chain], Wallet]
) -> None:
    coordinator, till = shop(chain, offer=lambda wanted: wanted | {field: value})
    with blocking(coordinator, wallet=wallets(chain)) as router:
        with pytest.raises(UnacceptableOfferError, match="Nothing was signed"):
            classify(router)
        assert router.spent == 0
    assert (sent(coordinator), till.payments) == (["nothing"], [])


@pytest.mark.parametrize("value", ["0", "-5", "01", "1.5", "", 1000, None, "9" * 16])
def test_an_amount_is_a_plain_number_in_a_text(evm: Wallet, value: Any) -> None:
    coordinator, _ = shop(offer=lambda wanted: wanted | {"amount": value})
    with blocking(coordinator, wallet=evm) as router, pytest.raises(UnacceptableOfferError):
        classify(router)


def test_the_payer_does_not_pay_the_fee(wallets: Callable[[Chain], Wallet]) -> None:
    wallet = wallets(Chain.SOLANA)
    coordinator, _ = shop(Chain.SOLANA, offer=lambda wanted: wanted | {"extra": {"feePayer": wallet.address}})
    with blocking(coordinator, wallet=wallet) as router, pytest.raises(UnacceptableOfferError, match="fees"):
        classify(router)
    assert sent(coordinator) == ["nothing"]


def test_of_several_offers_one_that_can_be_signed_is_taken(evm: Wallet) -> None:
    coordinator, till = shop(offer=lambda wanted: [wanted | {"network": "eip155:1"}, wanted])
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert till.signatures == 1


def test_nothing_on_offer_is_nothing_to_sign(evm: Wallet) -> None:
    coordinator, _ = shop(offer=lambda wanted: [])
    with blocking(coordinator, wallet=evm) as router, pytest.raises(UnacceptableOfferError):
        classify(router)


def test_money_goes_where_it_went_before(evm: Wallet) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        till.pay_to = "0x" + "cd" * 20
        with pytest.raises(UnacceptableOfferError, match="before for 0x"):
            classify(router)
        assert router.spent == PRICE
    assert till.signatures == 1


@pytest.mark.parametrize(
    "header", ["!", "e30=", "W10=", "eyJ4NDAyVmVyc2lvbiI6MSwiYWNjZXB0cyI6W119", "A" * 20_000]
)
def test_a_header_that_cannot_be_read_is_an_error(evm: Wallet, header: str) -> None:
    coordinator, _ = shop()
    coordinator.commit = Headed((402, b"{}"), {"PAYMENT-REQUIRED": header})
    with blocking(coordinator, wallet=evm) as router, pytest.raises(ComputeRouterError, match="PAYMENT-REQ"):
        classify(router)


# Once, whatever happens


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
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
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


def test_a_program_without_a_wallet_can_end_what_another_began(evm: Wallet) -> None:
    coordinator, till = shop()
    coordinator.commit = [None, BROKEN]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(SubmissionUnknownError) as caught:
        classify(router, timeout_s=1.0)
    coordinator.commit = None
    with blocking(coordinator) as another:
        classify(another, idempotency_key=caught.value.idempotency_key)
    assert till.signatures <= 1


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


# Credits


def test_a_credit_of_a_failed_job_is_kept_and_spent_first(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="became a credit") as caught:
            classify(router)
        assert caught.value.payment is not None
        assert TOKEN not in repr(caught.value.payment)
        assert router.credits() == [PRICE]
        assert purse.path.stat().st_mode & 0o777 == 0o600
        coordinator.about_job = done
        classify(router)
        assert (router.spent, router.credits()) == (PRICE, [])
    assert sent(coordinator) == ["nothing", "payment", "nothing", "credit"]


def test_a_credit_is_spent_by_another_program_and_without_a_wallet(purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: 5 * PRICE})
    purse.keep_credit(TOKEN, 5 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator) as router:
        classify(router)
        assert router.credits() == [4 * PRICE]
        assert router.spent == 0


def test_a_credit_that_is_seen_again_is_not_counted_again(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
        router.job(JOB_ID)
        assert router.credits() == []


def test_a_credit_that_another_program_spent_gives_way_to_the_next_and_then_to_the_wallet(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, till = shop(credits={})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    purse.keep_credit(OTHER_TOKEN, 2 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        assert router.credits() == [PRICE - 1, PRICE - 1]
    assert sent(coordinator) == ["nothing", "credit", "credit", "payment"]
    assert till.signatures == 1


def test_a_credit_whose_answer_was_lost_is_sent_again_and_nothing_else(evm: Wallet, purse: PurseFile) -> None:
    coordinator, till = shop(credits={TOKEN: PRICE})
    coordinator.loses_first_answers = True
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert sent(coordinator) == ["nothing", "credit", "credit"]
    assert (till.payments, len(coordinator.taken)) == ([], 1)


def test_a_credit_is_money_to_the_hook_and_to_the_cap_of_a_job(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    plans: list[PaymentPlan] = []

    def refuse(plan: PaymentPlan) -> bool:
        plans.append(plan)
        return False

    with blocking(coordinator, before_payment=refuse) as router, pytest.raises(PaymentRefusedError):
        classify(router)
    assert [plan.by_credit for plan in plans] == [True]
    with blocking(coordinator, spending=SpendingCaps(per_job=1)) as router, pytest.raises(SpendingCapError):
        classify(router)
    assert sent(coordinator) == ["nothing", "nothing"]


def test_a_job_that_failed_before_its_payment_was_decided_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("settling", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="not decided"):
            classify(router)
        assert router.credits() == []
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
        assert router.spent == PRICE
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_nobody_waited_for_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [paid_answer(RUNNING, "reserved", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_is_cancelled_late_keeps_its_credit(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [paid_answer(RUNNING, "settled", chain=Chain.MONAD)]
    cancelled = job_answer("cancelled", b'{"error":"cancelled"}')
    coordinator.cancel = paid_answer(cancelled, "credited", chain=Chain.MONAD, token=TOKEN)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0, cancel_on_timeout=True)
        assert router.credits() == [PRICE]


def test_a_void_payment_leaves_nothing_to_look_for(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError) as caught:
        classify(router)
    assert "credit" not in str(caught.value)
    assert (purse.credits(), purse.awaited()) == ([], [])


@pytest.mark.parametrize("token", ["crc_short", "crc_" + "A" * 43 + "\r\nX: y", ""])
def test_a_token_that_is_none_is_not_kept(
    evm: Wallet, purse: PurseFile, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=token)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError):
        classify(router)
    assert purse.credits() == []


def test_a_purse_that_cannot_be_written_hides_no_result(
    evm: Wallet, purse: PurseFile, caplog: pytest.LogCaptureFixture, trust_path: Path
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        job_id = router.submit(TaskJob("classify", "x"))
        trust_path.parent.mkdir(exist_ok=True)
        purse.path.mkdir()
        with pytest.raises(JobFailedError):
            router.result(job_id)
    assert "purse" in caplog.text
    assert TOKEN not in caplog.text


# What is never shown


def test_neither_key_nor_payment_nor_token_is_ever_logged(
    evm: Wallet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    coordinator, till = shop(credits={TOKEN: PRICE})
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError) as caught:
            classify(router, idempotency_key="order-7")
        seen = router.job(JOB_ID)
        shown = caplog.text + repr(caught.value) + repr(seen) + repr(seen.answer.payment)
        shown += repr(vars(router._core._payer))
    for secret in (TOKEN, till.payments[0]["signature"], bytes([9] * 32).hex(), repr(bytes([9] * 32))):
        assert secret not in shown


def test_the_purse_file_holds_what_a_repeat_needs(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router, idempotency_key="order-7")
    kept = json.loads(purse.path.read_text())["coordinators"][URL]["payments"]
    assert len(kept) == 1
    assert "order-7" not in purse.path.read_text()
