"""A facilitator on real local chains: what is settled, what is refused, and that nothing is settled twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account

from compute_router.protocol.payments import NotSettled, Settled, StillOpen
from compute_router.protocol.units import MicroUsd
from compute_router.transport.facilitator.settling import PENDING, Ended, NotNowError
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm


def test_a_good_payment_is_verified_without_money_moving_and_settled_with_it(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        checked = facilitator.verify(body)
        assert (checked.is_valid, checked.payer) == (True, scene.seeker)
        assert scene.paid == 0
        ended = facilitator.settle(body)
    assert ended.success, ended
    assert ended.payer == scene.seeker
    assert scene.paid == PRICE


def test_the_same_payment_as_v1_and_as_v2_is_one_payment(scene: Scene) -> None:
    inner = scene.signed()
    with scene.facilitator() as facilitator:
        assert facilitator.verify(scene.body_v1(inner)).is_valid
        first = facilitator.settle(scene.body_v1(inner))
        second = facilitator.settle(scene.body(inner))
    assert first.success
    assert second.transaction == first.transaction
    assert scene.paid == PRICE


def test_a_payment_that_is_settled_twice_answers_the_first_outcome_even_after_a_restart(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        first = facilitator.settle(body)
        assert facilitator.settle(body) == first
    with scene.facilitator() as facilitator:
        assert facilitator.settle(body) == first
    assert first.success
    assert scene.paid == PRICE


def test_a_settled_payment_is_verified_no_more(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        facilitator.settle(body)
        assert not facilitator.verify(body).is_valid


def test_a_refusal_with_nothing_sent_is_told_and_not_kept(scene: Scene) -> None:
    scene.local.spend(scene.seeker, 1_000_000)  # type: ignore[arg-type]
    body = scene.body()
    with scene.facilitator() as facilitator:
        refused = facilitator.settle(body)
        assert (refused.success, refused.transaction) == (False, "")
        scene.local.fund(scene.seeker, 1_000_000)  # type: ignore[arg-type]
        assert facilitator.settle(body).success
    assert scene.paid == PRICE


def test_somebody_without_funds_is_refused_and_nothing_is_sent(scene: Scene) -> None:
    scene.local.spend(scene.seeker, 1_000_000)  # type: ignore[arg-type]
    body = scene.body()
    with scene.facilitator() as facilitator:
        assert not facilitator.verify(body).is_valid
        assert not facilitator.settle(body).success
    assert not any("send" in method.lower() for method in scene.local.requests)


def test_many_that_settle_one_payment_at_once_all_get_its_one_outcome(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        answers = _all_at_once([lambda: facilitator.settle(body)] * 6)
    assert len({answer.transaction for answer in answers}) == 1
    assert all(answer.success for answer in answers)
    assert scene.paid == PRICE


def test_many_payments_at_once_are_all_settled(scene: Scene) -> None:
    bodies = [scene.body() for _ in range(8)]
    with scene.facilitator() as facilitator:
        answers = _all_at_once([lambda body=body: facilitator.settle(body) for body in bodies])  # type: ignore[misc]
    assert all(answer.success for answer in answers), answers
    assert len({answer.transaction for answer in answers}) == 8
    assert scene.paid == 8 * PRICE


def test_of_two_payments_that_one_balance_can_pay_once_one_is_refused(scene: Scene) -> None:
    scene.local.spend(scene.seeker, 1_000_000 - PRICE)  # type: ignore[arg-type]
    bodies = [scene.body(), scene.body()]
    with scene.facilitator() as facilitator:
        assert [facilitator.verify(body).is_valid for body in bodies] == [True, True]
        answers = _all_at_once([lambda body=body: facilitator.settle(body) for body in bodies])  # type: ignore[misc]
    assert sorted(answer.success for answer in answers) == [False, True]
    assert scene.local.balance(scene.pay_to) == PRICE


def test_a_transaction_that_fails_on_chain_is_a_failure(scene: Scene) -> None:
    inner = scene.signed()
    scene.local.faults.revert_transactions = 1
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
        assert (ended.success, ended.error_reason) == (False, "transaction_failed")
        assert scene.paid == 0
        # On Solana the same transaction fails for good; on EVM another carries out the same authorization.
        anew = facilitator.settle(scene.body(inner)).success
        assert anew is isinstance(scene, EvmScene)
        assert scene.paid == PRICE * anew


def test_a_settlement_that_fails_on_chain_again_and_again_is_given_up(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.revert_transactions = 9
    with on_evm.facilitator() as facilitator:
        ended = [facilitator.settle(on_evm.body(inner)) for _ in range(6)]
    assert {(each.success, each.error_reason) for each in ended} == {(False, "transaction_failed")}
    assert on_evm.local.faults.revert_transactions == 6
    assert on_evm.paid == 0


def test_a_refused_broadcast_sends_nothing_and_leaves_no_gap_behind(scene: Scene) -> None:
    body = scene.body()
    scene.local.faults.refuse_broadcasts = 1
    with scene.facilitator() as facilitator:
        with pytest.raises(NotNowError, match="does not take"):
            facilitator.settle(body)
        assert scene.paid == 0
        assert facilitator.settle(scene.body()).success
        assert facilitator.settle(body).success
    assert scene.paid == 2 * PRICE


def test_a_broadcast_whose_answer_is_lost_is_looked_for_on_the_chain(scene: Scene) -> None:
    # The Solana library sends again by itself when an answer is lost, which is harmless.
    scene.local.faults.lose_answers = 2
    with scene.facilitator() as facilitator:
        assert facilitator.settle(scene.body()).success
    assert scene.paid == PRICE


def test_of_settlements_at_once_those_behind_one_that_was_lost_unheard_do_not_wait_for_it(
    on_evm: EvmScene,
) -> None:
    bodies = [on_evm.body() for _ in range(3)]
    on_evm.local.faults.drop_transactions = on_evm.local.faults.lose_answers = 1
    with on_evm.facilitator(confirm_seconds=1.0) as facilitator:
        _all_at_once([lambda body=body: facilitator.settle(body) for body in bodies])  # type: ignore[misc]
        assert on_evm.paid == 2 * PRICE
        assert all(facilitator.settle(body).success for body in bodies)
    assert on_evm.paid == 3 * PRICE


def test_a_transaction_that_is_not_seen_in_time_is_pending_and_found_later(scene: Scene) -> None:
    inner = scene.signed()
    scene.local.faults.hold_transactions = True
    with scene.facilitator(confirm_seconds=0.3) as facilitator:
        pending = facilitator.settle(scene.body(inner))
        assert (pending.success, pending.error_reason) == (False, PENDING)
        assert scene.outcome(scene.payment(inner)) == StillOpen()
        scene.local.release()
        ended = facilitator.settle(scene.body(inner))
    assert ended.success
    assert ended.transaction == pending.transaction
    assert scene.outcome(scene.payment(inner)) == Settled(ended.transaction)
    assert scene.paid == PRICE


def test_a_transaction_that_was_lost_on_its_way_is_sent_again_and_not_signed_anew(scene: Scene) -> None:
    inner = scene.signed()
    scene.local.faults.drop_transactions = 1
    with scene.facilitator(confirm_seconds=0.3) as facilitator:
        pending = facilitator.settle(scene.body(inner))
        assert pending.error_reason == PENDING
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    assert (ended.success, ended.transaction) == (True, pending.transaction)
    assert scene.paid == PRICE


def test_a_settlement_whose_block_was_taken_back_is_sent_again(on_evm: EvmScene) -> None:
    from tools.local_chains.evm import LocalEvm

    body = on_evm.body()
    with on_evm.facilitator() as facilitator:
        first = facilitator.settle(body)
    with LocalEvm() as without_it:
        without_it.fund(on_evm.seeker, MicroUsd(1_000_000))
        without_it.fund_gas(str(Account.from_key(on_evm.key).address))
        on_evm.local = without_it
        assert on_evm.paid == 0
        with on_evm.facilitator() as facilitator:
            assert facilitator.settle(body) == first
        assert on_evm.paid == PRICE


def test_a_settlement_that_is_on_the_chain_no_more_is_not_called_settled(on_solana: SolanaScene) -> None:
    body = on_solana.body()
    with on_solana.facilitator(confirm_seconds=0.3) as facilitator:
        first = facilitator.settle(body)
        nowhere = {"context": {"slot": 1}, "value": [None]}
        on_solana.local.odd["getSignatureStatuses"] = [nowhere] * 20
        assert facilitator.settle(body).error_reason == PENDING
        on_solana.local.odd.clear()
        assert facilitator.settle(body) == first
    assert on_solana.paid == PRICE


def test_a_settlement_that_was_seen_is_told_while_the_chain_cannot_be_asked(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        first = facilitator.settle(body)
        scene.local.faults.down = True
        assert facilitator.settle(body) == first
    assert first.success


def test_a_settlement_in_a_final_block_is_not_looked_at_again(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        first = facilitator.settle(body)
        scene.local.advance(60)
        facilitator.settle(body)
        asked = dict(scene.local.requests)
        assert facilitator.settle(body) == first
    assert scene.local.requests == asked


def test_while_the_chain_is_down_nothing_is_refused_and_nothing_is_sent(scene: Scene) -> None:
    body = scene.body()
    with scene.facilitator() as facilitator:
        scene.local.faults.down = True
        with pytest.raises(NotNowError):
            facilitator.verify(body)
        with pytest.raises(NotNowError):
            facilitator.settle(body)
        assert facilitator.side.problem() is not None
        scene.local.faults.down = False
        assert facilitator.side.problem() is None
        assert facilitator.settle(body).success
    assert scene.paid == PRICE


@pytest.mark.parametrize("change", [{"value": "9999"}, {"to": "other"}], ids=["amount", "recipient"])
def test_a_payment_of_something_else_is_refused(scene: Scene, change: dict[str, str]) -> None:
    if "to" in change:
        change = {"to": str(_stranger(scene))}
        scene.local.fund(change["to"], 1)  # type: ignore[arg-type]
    body = scene.body(scene.signed(**change))
    with scene.facilitator() as facilitator:
        assert not facilitator.verify(body).is_valid
        assert not facilitator.settle(body).success
    assert scene.paid == 0


def test_an_authorization_that_has_expired_is_refused_and_the_chain_says_that_it_is_over(
    scene: Scene,
) -> None:
    inner = scene.signed()
    assert scene.outcome(scene.payment(inner)) == StillOpen()
    scene.expire()
    with scene.facilitator() as facilitator:
        assert not facilitator.verify(scene.body(inner)).is_valid
        assert not facilitator.settle(scene.body(inner)).success
    assert isinstance(scene.outcome(scene.payment(inner)), NotSettled)
    assert scene.paid == 0


def test_a_facilitator_without_gas_says_so_and_refuses_no_payment_for_ever(
    evm: LocalEvm, tmp_path: Path
) -> None:
    scene = EvmScene(tmp_path, evm)
    poor = evm.new_key()
    rich, scene.key = scene.key, bytes(poor.key)
    body = scene.body()
    with scene.facilitator() as facilitator:
        assert "no MON" in (facilitator.side.problem() or "")
        with pytest.raises(NotNowError, match="insufficient funds"):
            facilitator.settle(body)
    scene.key = rich
    with scene.facilitator() as facilitator:
        assert facilitator.settle(body).success


def test_an_authorization_that_is_not_valid_yet_is_refused(on_evm: EvmScene) -> None:
    body = on_evm.body(on_evm.signed(validAfter="99999999999", validBefore="999999999999"))
    with on_evm.facilitator() as facilitator:
        assert "valid_after" in (facilitator.verify(body).invalid_reason or "")
        assert not facilitator.settle(body).success


def test_an_authorization_with_a_changed_field_is_refused(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    inner["authorization"]["validBefore"] = str(int(inner["authorization"]["validBefore"]) + 1)
    with on_evm.facilitator() as facilitator:
        assert "signature" in (facilitator.verify(on_evm.body(inner)).invalid_reason or "")
        assert not facilitator.settle(on_evm.body(inner)).success


def test_a_wrongly_signed_copy_does_not_spoil_the_payment_it_copies(scene: Scene) -> None:
    inner = scene.signed()
    with scene.facilitator() as facilitator:
        assert not facilitator.settle(scene.body(_wrongly_signed(scene, inner))).success
        assert facilitator.settle(scene.body(inner)).success
    assert scene.paid == PRICE


def test_an_authorization_that_somebody_else_sends_first_counts_as_settled(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    with on_evm.facilitator(confirm_seconds=0.3) as facilitator:
        on_evm.local.faults.hold_transactions = True
        pending = facilitator.settle(on_evm.body(inner))
        assert pending.error_reason == PENDING
        # The other's transaction is on the chain before ours is let into a block.
        by_other = _sent_by_somebody_else(on_evm, inner)
        on_evm.local.release()
        ended = facilitator.settle(on_evm.body(inner))
    assert (ended.success, ended.transaction) == (True, by_other)
    assert on_evm.outcome(on_evm.payment(inner)) == Settled(by_other)
    assert on_evm.paid == PRICE


def test_a_transaction_whose_nonce_another_one_took_is_given_up_and_settled_anew(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.drop_transactions = 1
    with on_evm.facilitator(confirm_seconds=0.3) as facilitator:
        lost = facilitator.settle(on_evm.body(inner))
        assert lost.error_reason == PENDING
        assert facilitator.settle(on_evm.body()).success
        ended = facilitator.settle(on_evm.body(inner))
    assert ended.success
    assert ended.transaction != lost.transaction
    assert on_evm.paid == 2 * PRICE


def test_a_priority_fee_at_the_facilitators_expense_is_refused(on_solana: SolanaScene) -> None:
    from compute_router.transport.facilitator.bodies import PaymentError

    with on_solana.facilitator() as facilitator, pytest.raises(PaymentError, match="fee is too high"):
        facilitator.verify(on_solana.body(on_solana.signed(unit_price=6_000_000)))


def _all_at_once(works: list[Callable[[], Ended]]) -> list[Ended]:
    answers: list[Ended] = []

    def answer(work: Callable[[], Ended]) -> None:
        answers.append(work())

    threads = [threading.Thread(target=answer, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(works)
    return answers


def _stranger(scene: Scene) -> str:
    key: Any = scene.local.new_key()
    return str(key.address if isinstance(scene, EvmScene) else key.pubkey())


def _wrongly_signed(scene: Scene, inner: dict[str, Any]) -> dict[str, Any]:
    if isinstance(scene, EvmScene):
        signature = inner["signature"]
        return {
            **inner,
            "signature": signature[:10] + ("0" if signature[10] != "0" else "1") + signature[11:],
        }
    import base64

    from solders.signature import Signature
    from solders.transaction import VersionedTransaction

    transaction = VersionedTransaction.from_bytes(base64.b64decode(inner["transaction"]))
    wrong = VersionedTransaction.populate(transaction.message, [Signature.default(), Signature.new_unique()])
    return {"transaction": base64.b64encode(bytes(wrong)).decode()}


def _sent_by_somebody_else(scene: EvmScene, inner: dict[str, Any]) -> str:
    from compute_router.transport.facilitator.bodies import read_question
    from compute_router.transport.facilitator.evm_side import EvmSide

    other: Any = scene.local.new_key()
    scene.local.fund_gas(other.address)
    side = EvmSide(bytes(other.key), scene.local.rpc_url, confirm_seconds=0.3)
    # His goes in while ours waits.
    scene.local.faults.hold_transactions = False
    try:
        answer = side.settle(read_question(scene.body(inner), scene.chain))
    finally:
        side.close()
        scene.local.faults.hold_transactions = True
    assert answer.ok, answer
    return answer.transaction_ref
