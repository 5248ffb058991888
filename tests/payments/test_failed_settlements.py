"""Settlements that fail on a chain: what is tried anew, how often, and what stays known of the failure."""

from __future__ import annotations

from typing import Any

import pytest

from compute_router.protocol.units import MicroUsd
from compute_router.transport.facilitator.settling import Ended, NotNowError
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene

FAILED = "transaction_failed"
ALL_ITS_MONEY = MicroUsd(1_000_000)


def failed_once(scene: Scene, inner: dict[str, Any]) -> Ended:
    scene.local.faults.revert_transactions = 1
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    assert (ended.success, ended.error_reason) == (False, FAILED)
    assert ended.transaction
    return ended


def broadcasts(scene: Scene) -> int:
    return sum(count for method, count in scene.local.requests.items() if "send" in method.lower())


def test_a_settlement_that_keeps_failing_is_given_up_after_three_however_often_we_start(
    on_evm: EvmScene,
) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.revert_transactions = 30
    for _ in range(4):
        with on_evm.facilitator() as facilitator:
            for _ in range(2):
                assert facilitator.settle(on_evm.body(inner)).error_reason == FAILED
    assert broadcasts(on_evm) == 3


def test_one_that_was_given_up_is_told_with_its_last_transaction(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.revert_transactions = 30
    with on_evm.facilitator() as facilitator:
        ended = [facilitator.settle(on_evm.body(inner)) for _ in range(5)]
    assert len({each.transaction for each in ended}) == 3
    assert ended[2] == ended[3] == ended[4]


def test_on_solana_a_transaction_that_failed_stays_the_outcome_and_nothing_is_sent_again(
    on_solana: SolanaScene,
) -> None:
    inner = on_solana.signed()
    failed = failed_once(on_solana, inner)
    sent = broadcasts(on_solana)
    for _ in range(2):
        with on_solana.facilitator() as facilitator:
            assert facilitator.settle(on_solana.body(inner)) == failed
            assert facilitator.settle(on_solana.body(inner)) == failed
    assert broadcasts(on_solana) == sent


def test_a_failure_is_told_until_another_transaction_is_signed(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    failed = failed_once(on_evm, inner)
    on_evm.local.spend(on_evm.seeker, ALL_ITS_MONEY)
    for _ in range(2):
        with on_evm.facilitator() as facilitator:
            assert facilitator.settle(on_evm.body(inner)) == failed
    on_evm.local.fund(on_evm.seeker, ALL_ITS_MONEY)
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(on_evm.body(inner))
        assert facilitator.settle(on_evm.body(inner)) == ended
    assert ended.success
    assert ended.transaction != failed.transaction
    assert on_evm.paid == PRICE


def test_a_failure_is_still_known_when_the_node_took_no_other_transaction(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    failed = failed_once(on_evm, inner)
    on_evm.local.faults.refuse_broadcasts = 1
    with on_evm.facilitator() as facilitator, pytest.raises(NotNowError, match="does not take"):
        facilitator.settle(on_evm.body(inner))
    on_evm.local.spend(on_evm.seeker, ALL_ITS_MONEY)
    with on_evm.facilitator() as facilitator:
        assert facilitator.settle(on_evm.body(inner)) == failed


def test_broadcasts_that_a_node_refuses_do_not_make_room_for_more_failures(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    for _ in range(3):
        with on_evm.facilitator() as facilitator:
            on_evm.local.faults.refuse_broadcasts = 1
            with pytest.raises(NotNowError):
                facilitator.settle(on_evm.body(inner))
        failed = failed_once(on_evm, inner)
    on_evm.local.requests.clear()
    with on_evm.facilitator() as facilitator:
        assert facilitator.settle(on_evm.body(inner)) == failed
    assert not broadcasts(on_evm)


def test_a_second_transaction_that_is_under_way_is_waited_for_after_a_restart(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    failed_once(on_evm, inner)
    on_evm.local.faults.hold_transactions = True
    with on_evm.facilitator(confirm_seconds=0.3) as facilitator:
        pending = facilitator.settle(on_evm.body(inner))
    on_evm.local.release()
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(on_evm.body(inner))
    assert (ended.success, ended.transaction) == (True, pending.transaction)
    assert on_evm.paid == PRICE
