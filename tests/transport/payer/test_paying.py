"""The run of paying out ends at any point, on a chain that does what it likes: nobody is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from compute_router.protocol.payout_api import PayoutStepRequest
from compute_router.protocol.payout_state import PayoutEvent, PayoutState
from compute_router.protocol.units import MicroUsd
from compute_router.storage.interface import Store
from compute_router.transport.payer.coordinator_book import BookError
from compute_router.transport.payer.paying import PayoutRun, Report
from compute_router.transport.payer.ports import PurseError
from tests.actors.samples import key
from tests.fakes.payouts import Earned, Fuse, Killed, PlayChain, PlayPurse, StoreBook

ANN, BEN, CAS = key("a"), key("b"), key("c")
THRESHOLD = MicroUsd(1_000)


class Scene:
    """Ann and Ben earned enough, Cas too little, and Dee named no address."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.earned = Earned(directory)
        self.chain = PlayChain()
        for pubkey, amount, address in ((ANN, 5_000, "ann"), (BEN, 3_000, "ben"), (CAS, 999, "cas")):
            self.earned.earn(pubkey, amount)
            self.earned.name(pubkey, address)
        self.earned.earn(key("d"), 9_000)

    @property
    def store(self) -> Store:
        return self.earned.store

    def run(self, fuse: Fuse | None = None, rounds: int = 8, purse: PlayPurse | None = None) -> Report:
        """One run of the program."""
        fuse = fuse or Fuse()
        purse = purse or PlayPurse(self.chain, fuse)
        payer = PayoutRun(StoreBook(self.earned, fuse), purse, THRESHOLD, 100)
        return asyncio.run(payer.pay(rounds, purse.pause))

    def killed(self, at: int, rounds: int = 8) -> bool:
        """A run that is killed at a point, if it comes so far."""
        fuse = Fuse(at)
        with contextlib.suppress(Killed):
            self.run(fuse, rounds)
        return fuse.blown

    def all_were_paid_once(self) -> None:
        assert self.chain.paid == {"ann": 5_000, "ben": 3_000}
        assert self.chain.times == {"ann": 1, "ben": 1}
        assert self.earned.paid_out(ANN) == (5_000, 5_000, 0)
        assert self.earned.paid_out(BEN) == (3_000, 3_000, 0)
        assert self.earned.paid_out(CAS) == (999, 0, 0)
        assert self.store.ledger_sum() == 0


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene")


def test_whoever_is_owed_enough_and_named_an_address_is_paid_once(scene: Scene) -> None:
    assert scene.run() == Report(settled=2, refused=0, open=0)
    assert scene.run() == Report(settled=0, refused=0, open=0)
    scene.all_were_paid_once()


FAULTS: dict[str, Callable[[PlayChain], None]] = {
    "a good chain": lambda chain: None,
    "a chain that drops what it takes": lambda chain: setattr(chain, "drops", 2),
    "a node that loses its answers": lambda chain: setattr(chain, "loses_answers", 2),
    "a transfer that fails on the chain": lambda chain: setattr(chain, "fails", 1),
    "a transaction that fails and leaves its transfer alive": lambda chain: setattr(chain, "reverts", 3),
    "a node that cannot be read": lambda chain: setattr(chain, "broken_reads", 2),
    "a chain that drops a transfer until it is too old": lambda chain: setattr(chain, "drops", 7),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_killed_at_any_point_it_pays_everybody_once_in_the_end(
    tmp_path: Path, fault: Callable[[PlayChain], None]
) -> None:
    for at in itertools.count(1):
        scene = Scene(tmp_path / str(at))
        fault(scene.chain)
        if not scene.killed(at):
            break
        # What was sent may land between two runs, or not.
        if at % 2:
            scene.chain.block()
        for _ in range(6):
            scene.run()
        scene.all_were_paid_once()
        scene.store.close()
    assert at > 12


def test_killed_again_and_again_it_pays_everybody_once_in_the_end(tmp_path: Path) -> None:
    for first in range(1, 22, 3):
        for second in range(1, 22, 4):
            scene = Scene(tmp_path / f"{first}-{second}")
            scene.killed(first, rounds=2)
            scene.killed(second, rounds=2)
            for _ in range(4):
                scene.run()
            scene.all_were_paid_once()
            scene.store.close()


def test_what_is_open_after_the_wait_is_settled_by_the_next_run(scene: Scene) -> None:
    assert scene.run(rounds=0) == Report(settled=0, refused=0, open=2)
    scene.chain.block()
    assert scene.run(rounds=0) == Report(settled=2, refused=0, open=0)
    scene.all_were_paid_once()


def test_two_runs_at_once_pay_everybody_once(scene: Scene) -> None:
    async def both() -> None:
        one, other = PlayPurse(scene.chain), PlayPurse(scene.chain)
        runs = (PayoutRun(StoreBook(scene.earned), purse, THRESHOLD, 100) for purse in (one, other))
        await asyncio.gather(*(run.pay(4, one.pause) for run in runs))

    asyncio.run(both())
    scene.all_were_paid_once()


def test_two_runs_at_once_send_what_failed_anew_once(scene: Scene) -> None:
    scene.run(rounds=0)
    scene.chain.reverts = 2
    scene.chain.block()

    async def both() -> None:
        one, other = PlayPurse(scene.chain), PlayPurse(scene.chain)
        runs = (PayoutRun(StoreBook(scene.earned), purse, THRESHOLD, 100) for purse in (one, other))
        await asyncio.gather(*(run.pay(4, one.pause) for run in runs))

    asyncio.run(both())
    scene.all_were_paid_once()


class OlderBook(StoreBook):
    """A coordinator that does not know yet that what failed can be sent anew."""

    async def step(self, payout_id: str, taken: PayoutStepRequest) -> bool:
        if taken.event is PayoutEvent.SEND_ANEW:
            raise BookError("The coordinator answered 400: it knows no such step.")
        return await super().step(payout_id, taken)


def test_a_payout_that_cannot_be_sent_anew_keeps_the_others_from_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.chain.reverts = 1
    book, purse = OlderBook(scene.earned), PlayPurse(scene.chain, Fuse())
    asyncio.run(PayoutRun(book, purse, THRESHOLD, 100).pay(3, purse.pause))
    assert scene.chain.paid == {"ben": 3_000}
    assert "is not sent anew: The coordinator answered 400" in caplog.text
    assert scene.earned.paid_out(ANN) == (5_000, 0, 5_000)


def test_what_failed_is_sent_anew_under_the_name_of_the_new_transaction(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.chain.reverts = 1
    assert scene.run() == Report(settled=2, refused=0, open=0)
    assert "transaction ref-1 failed; it is sent anew as ref-3" in caplog.text
    paid = {payout.transaction_ref for key in (ANN, BEN) for payout in scene.store.payouts_of(key, 9)}
    assert paid == {"ref-2", "ref-3"}


def test_a_transfer_that_the_chain_would_not_take_is_owed_as_before(scene: Scene) -> None:
    purse = PlayPurse(scene.chain)
    purse.refuses = {"ann"}
    assert scene.run(purse=purse) == Report(settled=1, refused=1, open=0)
    assert scene.earned.paid_out(ANN) == (5_000, 0, 0)
    assert scene.run() == Report(settled=1, refused=0, open=0)
    scene.all_were_paid_once()


def test_with_too_little_in_the_purse_nothing_is_recorded(scene: Scene) -> None:
    with pytest.raises(PurseError, match=r"holds \$0\.007999, and \$0\.008 is needed"):
        scene.run(purse=PlayPurse(scene.chain, funds=7_999))
    assert scene.store.open_payouts() == ()
    assert scene.run().settled == 2


def test_what_an_earlier_run_recorded_must_be_in_the_purse_too_before_anything_is_signed(
    scene: Scene,
) -> None:
    assert scene.killed(3)
    assert [payout.state for payout in scene.store.open_payouts()] == [PayoutState.RECORDED] * 2
    scene.earned.earn(CAS, 1_002)
    with pytest.raises(PurseError, match=r"holds \$0\.010, and \$0\.010001 is needed"):
        scene.run(purse=PlayPurse(scene.chain, funds=10_000))
    assert (len(scene.store.open_payouts()), scene.chain.signed) == (2, 0)
    assert scene.run(purse=PlayPurse(scene.chain, funds=10_001)).settled == 3


def test_what_was_earned_meanwhile_is_for_the_next_run(scene: Scene) -> None:
    scene.run(rounds=0)
    scene.earned.earn(ANN, 2_000)
    scene.chain.block()
    assert scene.run() == Report(settled=3, refused=0, open=0)
    assert scene.chain.paid == {"ann": 7_000, "ben": 3_000}
    assert scene.earned.paid_out(ANN) == (7_000, 7_000, 0)


def test_a_new_address_is_for_payouts_that_are_recorded_after_it(scene: Scene) -> None:
    scene.killed(5)
    scene.earned.name(ANN, "elsewhere")
    scene.run()
    assert scene.chain.paid == {"ann": 5_000, "ben": 3_000}
    scene.earned.earn(ANN, 2_000)
    scene.run()
    assert scene.chain.paid == {"ann": 5_000, "ben": 3_000, "elsewhere": 2_000}
