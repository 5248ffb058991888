"""Why a settlement fails, as each chain tells it: who made it impossible owes, and nobody else does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from eth_utils.address import to_canonical_address
from solders.instruction import AccountMeta, Instruction

from compute_router.actors.payers_doing import payers_doing
from compute_router.protocol.payments import PAYER_PREVENTS, Loss, Refused, Settled, Unknown
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.facilitator.settling import Ended, NotNowError
from compute_router.transport.payments import facilitator_answers
from compute_router.transport.payments.solana_programs import LIGHTHOUSE
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene
from tools.local_chains.rpc_server import RpcError

if TYPE_CHECKING:
    from tests.payments.paying import Facilitating
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

ALL_HE_HAS = MicroUsd(1_000_000)
AGREES = bytes.fromhex("631626ba7e60e01b60005260206000f3")
"""The code of a wallet that finds every signature good."""


@pytest.fixture
def on_evm(evm: LocalEvm, tmp_path: Path) -> EvmScene:
    return EvmScene(tmp_path, evm)


@pytest.fixture
def on_solana(solana: LocalSolana, tmp_path: Path) -> SolanaScene:
    return SolanaScene(tmp_path, solana)


@pytest.fixture(params=["on_evm", "on_solana"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Scene)
    return found


def heard(scene: Scene, ended: Ended) -> Settled | Refused | Unknown:
    """What the coordinator makes of the facilitator's answer."""
    return facilitator_answers.settled(msgspec.json.encode(ended), scene.payment({}), scene.chain)


def debt(scene: Scene, ended: Ended, *, own: bool) -> bool:
    """Whether a job that was never paid for is a debt of its payer, when this was the answer in time."""
    answer = heard(scene, ended)
    assert not isinstance(answer, Settled)
    has = scene.read_balance(scene.seeker)
    reason = payers_doing(answer, PRICE, has, facilitator_is_own=own)
    return Loss("p", "payer", PRICE, UnixMs(0), reason).owed


def answered(scene: Scene, ended: Ended) -> bool:
    """Whether this counts as an answer, and not as the silence of a facilitator that is down."""
    answer = heard(scene, ended)
    return not (isinstance(answer, Unknown) and answer.code is None)


@pytest.mark.parametrize("own", [True, False], ids=["own", "remote"])
def test_money_that_was_moved_away_after_the_check_is_a_debt(scene: Scene, own: bool) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        assert facilitator.verify(body).is_valid
        scene.local.spend(scene.seeker, ALL_HE_HAS)
        ended = facilitator.settle(body)
    assert answered(scene, ended)
    assert debt(scene, ended, own=own)


def test_money_that_was_away_only_for_that_moment_is_a_debt_when_our_own_facilitator_saw_it(
    scene: Scene,
) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        scene.local.spend(scene.seeker, ALL_HE_HAS)
        ended = facilitator.settle(body)
    scene.local.fund(scene.seeker, ALL_HE_HAS)
    assert debt(scene, ended, own=True)
    assert not debt(scene, ended, own=False)


def test_an_authorization_that_expired_is_nobodys_debt_whatever_the_payer_has(scene: Scene) -> None:
    inner = scene.signed()
    scene.expire()
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    assert not debt(scene, ended, own=True)
    scene.local.spend(scene.seeker, ALL_HE_HAS)
    assert not debt(scene, ended, own=True)


def test_a_facilitator_out_of_gas_answers_that_it_cannot_and_puts_nobody_in_debt(scene: Scene) -> None:
    poor: Any = scene.local.new_key()
    if isinstance(scene, SolanaScene):
        scene.fee_payer, scene.key = poor, bytes(poor)
    else:
        scene.key = bytes(poor.key)
    with scene.facilitator() as facilitator, pytest.raises(NotNowError):
        facilitator.settle(scene.body())


def test_a_failure_of_the_facilitator_before_anything_was_sent_is_nobodys_debt(scene: Scene) -> None:
    not_sent = Ended(False, "", scene.requirements()["network"], scene.seeker, "transaction_failed")
    assert answered(scene, not_sent)
    assert not debt(scene, not_sent, own=True)


@pytest.mark.parametrize(
    "failure",
    [
        "AccountNotFound",
        "InsufficientFundsForFee",
        {"InsufficientFundsForRent": {"account_index": 0}},
        "ClusterMaintenance",
    ],
    ids=str,
)
def test_what_a_solana_node_says_of_our_key_and_of_itself_refuses_no_payment(
    on_solana: SolanaScene, failure: Any
) -> None:
    with on_solana.facilitator() as facilitator:
        with pytest.raises(NotNowError):
            settled_by_trial(on_solana, facilitator, failure)
        assert facilitator.settle(on_solana.body()).success


@pytest.mark.parametrize(
    ("failure", "owed"),
    [
        ({"InstructionError": [2, {"Custom": 1}]}, True),
        ({"InstructionError": [2, {"Custom": 4}]}, True),
        ({"InstructionError": [3, {"Custom": 6001}]}, True),
        ({"InstructionError": [3, "ComputationalBudgetExceeded"]}, True),
        ({"InstructionError": [2, {"Custom": 17}]}, False),
        ({"InstructionError": [2, "InvalidAccountData"]}, False),
        ({"InstructionError": [99, {"Custom": 1}]}, False),
        ({"InstructionError": []}, False),
        ("BlockhashNotFound", False),
        ("AlreadyProcessed", False),
        ("SomethingNew", False),
        (7, False),
    ],
    ids=str,
)
def test_on_solana_a_payer_owes_for_what_only_he_could_change(
    on_solana: SolanaScene, failure: Any, owed: bool
) -> None:
    with on_solana.facilitator() as facilitator:
        ended = settled_by_trial(on_solana, facilitator, failure)
    assert answered(on_solana, ended)
    assert debt(on_solana, ended, own=True) is owed
    assert not debt(on_solana, ended, own=False)


def settled_by_trial(scene: SolanaScene, facilitator: Facilitating, failure: Any) -> Ended:
    """The end of a payment with an assertion of Lighthouse, whose trial fails so."""
    asserts = Instruction(LIGHTHOUSE, b"\x06", [AccountMeta(scene.keypair.pubkey(), False, False)])
    scene.local.odd["simulateTransaction"] = [{"context": {"slot": 1}, "value": {"err": failure, "logs": []}}]
    return facilitator.settle(scene.body(scene.signed(more=[asserts])))


def test_a_token_account_that_was_closed_is_a_debt_by_what_the_payer_has(on_solana: SolanaScene) -> None:
    with on_solana.facilitator() as facilitator:
        ended = settled_by_trial(on_solana, facilitator, {"InstructionError": [2, "InvalidAccountData"]})
    on_solana.local.spend(on_solana.seeker, ALL_HE_HAS)
    assert debt(on_solana, ended, own=True)
    assert debt(on_solana, ended, own=False)


# Payers whose account has code, which the token asks about their signature


def of_a_wallet(scene: EvmScene) -> bytes:
    """A payment of a seeker whose account has code, which agrees."""
    scene.local.chain.set_code(to_canonical_address(scene.seeker), AGREES)  # type: ignore[union-attr]
    return scene.body()


def let_the_token_say(scene: EvmScene, **answers: str | None) -> None:
    """From now on its calls are answered so, by their names; None: it reverts."""
    call = scene.local.methods["eth_call"]

    def answer(asked: dict[str, str], *more: Any) -> Any:
        told = answers.get(NAMES.get(asked["data"][:10], ""), "")
        if told is None:
            raise RpcError(3, "execution reverted")
        return told or call(asked, *more)

    scene.local.methods["eth_call"] = answer


NAMES = {"0xe3ee160e": "transfer", "0x5c975abb": "paused", "0xfe575a87": "blacklisted"}
YES = "0x" + "1".rjust(64, "0")


@pytest.mark.parametrize("own", [True, False], ids=["own", "remote"])
def test_a_wallet_contract_that_changes_its_mind_is_in_debt_when_our_own_facilitator_saw_it(
    on_evm: EvmScene, own: bool
) -> None:
    body = of_a_wallet(on_evm)
    with on_evm.facilitator() as facilitator:
        assert facilitator.verify(body).is_valid
        let_the_token_say(on_evm, transfer=None)
        ended = facilitator.settle(body)
    assert ended.error_reason == PAYER_PREVENTS
    assert answered(on_evm, ended)
    assert debt(on_evm, ended, own=own) is own


def test_a_transfer_that_fails_without_a_wallet_that_could_be_why_is_nobodys_debt(on_evm: EvmScene) -> None:
    let_the_token_say(on_evm, transfer=None)
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(on_evm.body())
    assert not ended.success
    assert not debt(on_evm, ended, own=True)


@pytest.mark.parametrize("stopped", ["paused", "blacklisted"])
def test_a_wallet_that_the_tokens_issuer_stops_is_nobodys_debt(on_evm: EvmScene, stopped: str) -> None:
    body = of_a_wallet(on_evm)
    let_the_token_say(on_evm, transfer=None, **{stopped: YES})
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(body)
    assert not ended.success
    assert not debt(on_evm, ended, own=True)


def test_a_wallet_that_agrees_in_trials_and_in_no_block_is_in_debt(on_evm: EvmScene) -> None:
    body = of_a_wallet(on_evm)
    on_evm.local.faults.revert_transactions = 1
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(body)
    assert (ended.error_reason, bool(ended.transaction)) == ("transaction_failed", True)
    assert answered(on_evm, ended)
    assert debt(on_evm, ended, own=True)
    assert not debt(on_evm, ended, own=False)


def test_a_transaction_that_reached_a_block_too_late_is_nobodys_debt(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.hold_transactions = True
    with on_evm.facilitator(confirm_seconds=0.3) as facilitator:
        pending = facilitator.settle(on_evm.body(inner))
        assert not debt(on_evm, pending, own=True)
        on_evm.local.advance(4000)
        on_evm.local.release()
        ended = facilitator.settle(on_evm.body(inner))
    assert not ended.success
    assert not debt(on_evm, ended, own=True)
