"""What a wallet signs is settled on a real local chain, as signed and once."""

from __future__ import annotations

from compute_router.protocol.networks import Chain
from compute_router.sdk import Wallet
from compute_router.sdk.wallet_balance import balance_of
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene


def wallet_of(scene: Scene) -> Wallet:
    """The seeker's wallet."""
    if isinstance(scene, EvmScene):
        return Wallet(Chain.MONAD, bytes(scene.account.key), scene.local.rpc_url)
    assert isinstance(scene, SolanaScene)
    return Wallet(Chain.SOLANA, bytes(scene.keypair), scene.local.rpc_url)


def test_a_signed_payment_moves_its_amount_once(scene: Scene) -> None:
    wallet = wallet_of(scene)
    assert wallet.address == scene.seeker
    body = scene.body(wallet.sign(scene.requirements()))
    with scene.facilitator() as facilitator:
        checked = facilitator.verify(body)
        assert checked.is_valid, checked
        assert scene.paid == 0
        first, again = facilitator.settle(body), facilitator.settle(body)
    assert first.success, first
    assert again.transaction == first.transaction
    assert scene.paid == PRICE
    assert balance_of(wallet, 10.0) == 1_000_000 - PRICE


def test_each_signature_is_a_payment_of_its_own(scene: Scene) -> None:
    wallet = wallet_of(scene)
    with scene.facilitator() as facilitator:
        for _ in range(2):
            ended = facilitator.settle(scene.body(wallet.sign(scene.requirements())))
            assert ended.success, ended
    assert scene.paid == 2 * PRICE
