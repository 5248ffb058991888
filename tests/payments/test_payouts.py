"""Payouts on real local chains: signed for real, recorded, sent, killed at any point, and paid once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.actors.messages.stored_earnings import LoadOpenPayouts, RecordPayout
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import NotSettled, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payer.__main__ import open_purse
from compute_router.transport.payer.paying import PayoutRun, Report
from compute_router.transport.payer.ports import Prepared, PurseError
from compute_router.transport.payments.json_rpc import ChainUnreadableError
from compute_router.transport.payouts import opened
from tests.actors.samples import key
from tests.fakes.payouts import Earned, Fuse, Killed, StoreBook
from tools.local_chains.rpc_server import RpcServer

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

ANN, BEN = key("a"), key("b")
CHAINS = {"evm": Chain.MONAD, "solana": Chain.SOLANA}


class Scene:
    """Two workers who earned something, and an operator with money and gas."""

    def __init__(self, directory: Path, chain: Chain, local: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.chain, self.local = chain, local
        self.earned = Earned(directory, NETWORKS[chain].caip2)
        self.node = local.rpc_url
        operator, ann, ben = (self._new() for _ in range(3))
        self.key, self.operator = operator
        self.ann, self.ben = ann[1], ben[1]
        local.fund(self.operator, MicroUsd(1_000_000))
        local.fund_gas(self.operator)
        for pubkey, address, amount in ((ANN, self.ann, 5_000), (BEN, self.ben, 3_000)):
            self.earned.earn(pubkey, amount)
            self.earned.name(pubkey, address)

    def _new(self) -> tuple[bytes, str]:
        made = self.local.new_key()
        if self.chain is Chain.MONAD:
            return bytes(made.key), str(made.address)
        return bytes(made), str(made.pubkey())

    async def _pause(self) -> None:
        # On Solana final is what is half a minute old.
        self.local.advance(1 if self.chain is Chain.MONAD else 15)

    def run(self, fuse: Fuse | None = None, rounds: int = 3) -> Report:
        """One run of the program, but for its command line."""
        fuse = fuse or Fuse()

        async def run() -> Report:
            purse = open_purse(self.chain, self.key, self.node)
            try:
                fused = FusedPurse(purse, fuse)
                payer = PayoutRun(StoreBook(self.earned, fuse), fused, MicroUsd(1), 10)
                return await payer.pay(rounds, self._pause)
            finally:
                await purse.close()

        return asyncio.run(run())

    def with_purse(self, use: Callable[[Any], Any]) -> Any:
        """What a coroutine of the purse gives."""

        async def run() -> Any:
            purse = open_purse(self.chain, self.key, self.node)
            try:
                return await use(purse)
            finally:
                await purse.close()

        return asyncio.run(run())

    def open(self) -> list[OpenPayout]:
        return [opened(payout) for payout in self.earned.do(LoadOpenPayouts())]

    def expire(self) -> None:
        """Everything that was signed is too old, and final blocks say so."""
        self.local.advance(3_700 if self.chain is Chain.MONAD else 150)
        if self.chain is Chain.MONAD:
            self.local.chain.mine_empty(1)

    def both_were_paid_once(self) -> None:
        assert self.local.balance(self.ann) == 5_000
        assert self.local.balance(self.ben) == 3_000
        assert self.local.balance(self.operator) == 1_000_000 - 8_000
        assert self.earned.paid_out(ANN) == (5_000, 5_000, 0)
        assert self.earned.paid_out(BEN) == (3_000, 3_000, 0)
        assert self.earned.store.ledger_sum() == 0


class FusedPurse:
    """A real purse that can end a run before and after it sends."""

    def __init__(self, purse: Any, fuse: Fuse) -> None:
        self._purse = purse
        self._fuse = fuse
        self.address = purse.address
        self.check = purse.check
        self.funds = purse.funds
        self.outcome = purse.outcome

    async def prepare(self, payout: OpenPayout, may_move: Sequence[OpenPayout]) -> Prepared | Refused:
        self._fuse.point()
        prepared: Prepared | Refused = await self._purse.prepare(payout, may_move)
        return prepared

    async def send(self, transaction_data: str) -> None:
        self._fuse.point()
        await self._purse.send(transaction_data)
        self._fuse.point()


@pytest.fixture(params=CHAINS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene", CHAINS[request.param], request.getfixturevalue(request.param))


@pytest.fixture
def on_evm(evm: LocalEvm, tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene", Chain.MONAD, evm)


@pytest.fixture
def on_solana(solana: LocalSolana, tmp_path: Path) -> Scene:
    return Scene(tmp_path / "scene", Chain.SOLANA, solana)


def test_each_worker_gets_one_transfer_of_all_it_is_owed(scene: Scene) -> None:
    assert scene.run() == Report(settled=2, refused=0, open=0)
    scene.both_were_paid_once()
    assert scene.run() == Report(settled=0, refused=0, open=0)
    scene.earned.earn(ANN, 700)
    assert scene.run() == Report(settled=1, refused=0, open=0)
    assert scene.local.balance(scene.ann) == 5_700


def test_killed_at_any_point_it_pays_both_once_in_the_end(scene: Scene, tmp_path: Path) -> None:
    for at in itertools.count(1):
        again = Scene(tmp_path / str(at), scene.chain, scene.local)
        fuse = Fuse(at)
        with contextlib.suppress(Killed):
            again.run(fuse)
        if not fuse.blown:
            break
        assert again.run().open == 0
        again.both_were_paid_once()
        again.earned.store.close()
    assert at > 12


def test_what_a_chain_dropped_is_sent_again_and_not_signed_again(scene: Scene) -> None:
    scene.local.faults.drop_transactions = 2
    assert scene.run(rounds=0).open == 2
    signed = {payout.transaction_ref for payout in scene.open()}
    assert scene.run().settled == 2
    scene.both_were_paid_once()
    paid = {payout.transaction_ref for key in (ANN, BEN) for payout in scene.earned.store.payouts_of(key, 9)}
    assert paid == signed


def test_a_node_that_took_a_transfer_and_gave_no_answer_is_asked_about_it(scene: Scene) -> None:
    scene.local.faults.lose_answers = 2
    assert scene.run(rounds=0).open == 2
    assert {payout.state.value for payout in scene.open()} == {"unknown"}
    assert scene.run().settled == 2
    scene.both_were_paid_once()


def test_what_waits_on_the_chain_is_open_and_not_paid_again(scene: Scene) -> None:
    scene.local.faults.hold_transactions = True
    assert scene.run() == Report(settled=0, refused=0, open=2)
    assert scene.run() == Report(settled=0, refused=0, open=2)
    assert scene.local.balance(scene.ann) == 0


def test_a_transfer_that_is_too_old_to_land_is_owed_again_and_paid_by_a_new_one(scene: Scene) -> None:
    scene.local.faults.drop_transactions = 2
    scene.run(rounds=0)
    old = scene.open()
    scene.expire()
    scene.local.faults.drop_transactions = 0
    report = scene.run(rounds=0)
    assert report.refused == 2

    async def send_the_old_ones(purse: Any) -> None:
        for payout in old:
            with contextlib.suppress(ChainUnreadableError):
                await purse.send(payout.transaction_data)

    scene.with_purse(send_the_old_ones)
    assert scene.run().open == 0
    scene.both_were_paid_once()


def test_a_transfer_that_failed_on_the_chain_is_not_taken_for_paid(scene: Scene) -> None:
    scene.local.faults.revert_transactions = 1
    scene.run()
    scene.expire()
    for _ in range(2):
        scene.run()
    scene.both_were_paid_once()


def test_a_transfer_in_a_block_is_not_owed_again_however_late_it_is_asked_about(scene: Scene) -> None:
    scene.run(rounds=0)
    scene.expire()
    assert scene.run() == Report(settled=2, refused=0, open=0)
    scene.both_were_paid_once()


def test_a_transfer_of_a_killed_run_is_settled_by_the_next_one_days_later(on_evm: Scene) -> None:
    on_evm.run(rounds=0)
    on_evm.local.chain.mine_empty(20_000)
    on_evm.local.advance(2 * 86_400)
    on_evm.local.chain.mine_empty(31_000)
    on_evm.local.requests.clear()
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()
    assert "eth_getLogs" not in on_evm.local.requests


@pytest.mark.parametrize("blocks", [0, 20_000])
def test_a_database_that_forgot_that_it_paid_does_not_pay_again(on_evm: Scene, blocks: int) -> None:
    """The payout is there, its transfer is not: as after a restored backup."""
    with contextlib.suppress(Killed):
        on_evm.run(Fuse(3))
    forgotten = on_evm.open()
    assert [payout.transaction_ref for payout in forgotten] == [None, None]

    async def pay_behind_its_back(purse: Any) -> None:
        for payout in forgotten:
            prepared = await purse.prepare(payout, ())
            await purse.send(prepared.transaction_data)

    on_evm.with_purse(pay_behind_its_back)
    on_evm.local.advance(blocks)
    on_evm.local.chain.mine_empty(blocks)
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_a_payout_address_of_another_chain_is_refused_and_the_others_are_paid(scene: Scene) -> None:
    elsewhere = {Chain.MONAD: "7EYnhQoR9YM3N7UoaKRoA44Uy8JeaZV3qyouov87awMs", Chain.SOLANA: "0x" + "5a" * 20}
    scene.earned.name(ANN, elsewhere[scene.chain])
    assert scene.run() == Report(settled=1, refused=1, open=0)
    assert scene.local.balance(scene.ben) == 3_000
    scene.earned.name(ANN, scene.ann)
    assert scene.run().settled == 1
    scene.both_were_paid_once()


def test_with_too_little_money_nothing_is_recorded(scene: Scene) -> None:
    scene.local.spend(scene.operator, MicroUsd(992_001))
    with pytest.raises(PurseError, match="is needed"):
        scene.run()
    assert scene.open() == []


def test_without_money_for_fees_nothing_is_recorded(scene: Scene) -> None:
    scene.key = scene._new()[0]
    with pytest.raises(PurseError, match="fees"):
        scene.run()
    assert scene.open() == []


def test_a_node_that_is_down_leaves_everything_as_it_was(scene: Scene) -> None:
    scene.local.faults.down = True
    with pytest.raises(ChainUnreadableError):
        scene.run()
    assert scene.open() == []


@pytest.mark.parametrize(
    ("chain", "method", "answer"),
    [
        (Chain.MONAD, "eth_chainId", "0x1"),
        (Chain.SOLANA, "getGenesisHash", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ],
)
def test_a_node_of_another_chain_is_not_asked_to_pay(chain: Chain, method: str, answer: str) -> None:
    from tools.local_chains.faults import Faults

    server = RpcServer({method: lambda: answer}, Faults(), 0)
    try:
        secret = b"\x01" * 32
        if chain is Chain.SOLANA:
            from solders.keypair import Keypair

            secret = bytes(Keypair())

        async def check() -> None:
            purse = open_purse(chain, secret, server.url)
            try:
                await purse.check()
            finally:
                await purse.close()

        with pytest.raises(PurseError, match="The node is"):
            asyncio.run(check())
    finally:
        server.close()


def test_a_node_without_history_does_not_make_a_payout_owed_again(on_solana: Scene) -> None:
    on_solana.local.faults.drop_transactions = 2
    on_solana.run(rounds=0)
    on_solana.expire()
    methods = on_solana.local._server._methods
    methods["getFirstAvailableBlock"] = lambda: 10**9
    assert on_solana.run() == Report(settled=0, refused=0, open=2)
    methods["getFirstAvailableBlock"] = lambda: 0
    assert on_solana.run(rounds=0).refused == 2


def test_nonces_have_no_gap_and_are_used_once(on_evm: Scene) -> None:
    on_evm.local.faults.drop_transactions = 1
    on_evm.run(rounds=0)
    assert on_evm.run().open == 0
    on_evm.both_were_paid_once()


def test_a_transfer_of_another_chain_is_left_alone(scene: Scene) -> None:
    with contextlib.suppress(Killed):
        scene.run(Fuse(3))
    for payout in scene.open():
        scene.earned.do(RecordPayout(payout.payout_id, PayoutEvent.SEND, '{"chain":"eip155:1"}', "0x1"))
    assert scene.run(rounds=0) == Report(settled=0, refused=0, open=2)
    assert scene.local.balance(scene.ann) == 0


def test_outcomes_are_told_for_good_only(on_solana: Scene) -> None:
    on_solana.run(rounds=0)
    ask = [lambda purse, payout=payout: purse.outcome(payout) for payout in on_solana.open()]
    assert [on_solana.with_purse(one) for one in ask] == [StillOpen(), StillOpen()]
    on_solana.local.advance(15)
    assert all(isinstance(on_solana.with_purse(one), Settled) for one in ask)
    assert NotSettled("never") not in [on_solana.with_purse(one) for one in ask]
