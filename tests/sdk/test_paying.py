"""A client pays by itself when it has what to pay with, and says what is missing when it has not."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_packages import install_command
from compute_router.protocol.payment_state import PaymentState
from compute_router.sdk import JobFailedError, PaymentPlan, PaymentRequiredError, Wallet, WalletError
from compute_router.sdk.purse_file import PurseFile
from tests.fakes.http_coordinator import JOB_ID, FakeCoordinator, completed
from tests.fakes.till import PRICE, TOKEN, failed_paid
from tests.sdk.clients import URL, asynchronous, blocking
from tests.sdk.paying import OUTPUT, both_chains, classify, sent, shop


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
        with pytest.raises(WalletError, match=re.escape(install_command())):
            classify(router)
        assert router.spent == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/?api-key=secret", "cannot be reached"),
        ("nonsense://secret", "has no usable URL"),
    ],
)
def test_a_node_that_does_not_answer_stops_a_payment_before_it_is_sent(url: str, why: str) -> None:
    refused_for(why, url)


def test_a_node_of_another_chain_stops_a_payment_before_it_is_sent() -> None:
    from tools.local_chains.evm import LocalEvm

    with LocalEvm() as another:
        refused_for("does not answer like one of Solana devnet", f"{another.rpc_url}/?api-key=secret")


def refused_for(why: str, url: str) -> None:
    coordinator, _ = shop(Chain.SOLANA)
    key = SigningKey(bytes([9] * 32))
    wallet = Wallet(Chain.SOLANA, bytes(key) + bytes(key.verify_key), url)
    with blocking(coordinator, wallet=wallet) as router:
        with pytest.raises(WalletError, match="--rpc-url") as caught:
            classify(router)
        assert router.spent == 0
    assert f"its node {why}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert sent(coordinator) == ["nothing"]


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
