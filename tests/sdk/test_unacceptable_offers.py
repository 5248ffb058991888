"""A wallet does not sign what was not quoted, nor what another wallet or network is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from solders.keypair import Keypair

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import Chain
from compute_router.sdk import PriceMismatchError, UnacceptableOfferError, Wallet, WalletError
from tests.fakes.http_coordinator import Headed
from tests.fakes.till import FEE_PAYER, PRICE
from tests.sdk.clients import blocking
from tests.sdk.paying import classify, sent, shop


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


OTHER_ADDRESS = "0x" + "cd" * 20
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
        till.pay_to = OTHER_ADDRESS
        with pytest.raises(UnacceptableOfferError, match="before for 0x"):
            classify(router)
        assert router.spent == PRICE
    assert till.signatures == 1


def test_two_threads_do_not_sign_for_two_recipients() -> None:
    coordinator, till = shop()
    signing, go_on = threading.Event(), threading.Event()

    class Slow(Wallet):
        def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
            signing.set()
            assert go_on.wait(20)
            return super().sign(requirement)

    with blocking(coordinator, wallet=Slow(Chain.MONAD, bytes([9] * 32))) as router:
        first = threading.Thread(target=classify, args=(router,))
        first.start()
        assert signing.wait(20)
        till.pay_to = OTHER_ADDRESS
        try:
            with pytest.raises(UnacceptableOfferError, match="before for 0x"):
                classify(router)
        finally:
            till.pay_to = None
            go_on.set()
            first.join()
        assert router.spent == PRICE
    assert till.signatures == 1


def test_a_recipient_for_whom_nothing_could_be_signed_binds_nobody() -> None:
    coordinator, till = shop()

    class Failing(Wallet):
        fails = True

        def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
            if self.fails:
                raise WalletError("The node does not answer.")
            return super().sign(requirement)

    wallet = Failing(Chain.MONAD, bytes([9] * 32))
    till.pay_to = OTHER_ADDRESS
    with blocking(coordinator, wallet=wallet) as router:
        with pytest.raises(WalletError):
            classify(router)
        wallet.fails, till.pay_to = False, None
        classify(router)
    assert till.signatures == 1


@pytest.mark.parametrize(
    "header", ["!", "e30=", "W10=", "eyJ4NDAyVmVyc2lvbiI6MSwiYWNjZXB0cyI6W119", "A" * 20_000]
)
def test_a_header_that_cannot_be_read_is_an_error(evm: Wallet, header: str) -> None:
    coordinator, _ = shop()
    coordinator.commit = Headed((402, b"{}"), {"PAYMENT-REQUIRED": header})
    with blocking(coordinator, wallet=evm) as router, pytest.raises(ComputeRouterError, match="PAYMENT-REQ"):
        classify(router)
