"""Two use one key on Monad, which they should not: each payment is settled once all the same."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from compute_router.transport.facilitator.settling import PENDING, NotNowError
from tests.payments.paying import PRICE, EvmScene, Facilitating
from tools.local_chains.evm import LocalEvm

PATIENCE_SECONDS = 30.0
PAYMENTS = 6


@pytest.fixture
def scene(evm: LocalEvm, tmp_path: Path) -> EvmScene:
    return EvmScene(tmp_path, evm)


def test_a_transaction_behind_one_that_was_lost_is_given_up_and_settled_anew(scene: EvmScene) -> None:
    inner = scene.signed()
    with scene.facilitator(confirm_seconds=0.3) as facilitator:
        # Three of another user of the key are under way, and then the node forgets them.
        scene.local.odd["eth_getTransactionCount"] = ["0x3"]
        stuck = facilitator.settle(scene.body(inner))
        assert stuck.error_reason == PENDING
        ended = facilitator.settle(scene.body(inner))
        assert ended.success
        assert ended.transaction != stuck.transaction
        for _ in range(2):
            assert facilitator.settle(scene.body()).success
        # The gap is closed, and the first one lands and fails: the authorization is used.
        assert facilitator.settle(scene.body(inner)) == ended
    assert scene.paid == 3 * PRICE


def test_a_transaction_that_waits_for_others_of_ours_is_not_given_up(scene: EvmScene) -> None:
    bodies = [scene.body() for _ in range(3)]
    with scene.facilitator(confirm_seconds=0.3) as facilitator:
        scene.local.faults.hold_transactions = True
        pending = [facilitator.settle(body) for body in bodies]
        again = [facilitator.settle(body) for body in bodies]
        scene.local.release()
        ended = [facilitator.settle(body) for body in bodies]
    assert [each.transaction for each in again] == [each.transaction for each in pending]
    assert [each.transaction for each in ended] == [each.transaction for each in pending]
    assert scene.paid == 3 * PRICE


def test_two_facilitators_with_one_key_and_two_books_settle_each_payment_once(
    scene: EvmScene, tmp_path: Path
) -> None:
    with scene.facilitator(confirm_seconds=1) as one:
        scene.book_path = tmp_path / "other.book"
        with scene.facilitator(confirm_seconds=1) as other:
            bodies = {facilitator: [scene.body() for _ in range(PAYMENTS)] for facilitator in (one, other)}
            threads = [
                threading.Thread(target=_settled_at_last, args=(facilitator, body))
                for facilitator, several in bodies.items()
                for body in several
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for facilitator, several in bodies.items():
                assert all(facilitator.settle(body).success for body in several)
    assert scene.paid == 2 * PAYMENTS * PRICE


def _settled_at_last(facilitator: Facilitating, body: bytes) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if facilitator.settle(body).success:
                return
        except NotNowError:
            continue
