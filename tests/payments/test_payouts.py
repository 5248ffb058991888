"""Payouts on real local chains: signed for real, recorded, sent, killed at any point, and paid once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
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
from compute_router.transport.payments.evm_chain_reader import AUTHORIZATION_STATE
from compute_router.transport.payments.json_rpc import ChainUnreadableError
from compute_router.transport.payouts import opened
from tests.actors.samples import key
from tests.fakes.clock import FakeClock
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
        operator, ann, ben = (self.new_account() for _ in range(3))
        self.key, self.operator = operator
        self.ann, self.ben = ann[1], ben[1]
        local.fund(self.operator, MicroUsd(1_000_000))
        local.fund_gas(self.operator)
        for pubkey, address, amount in ((ANN, self.ann, 5_000), (BEN, self.ben, 3_000)):
            self.earned.earn(pubkey, amount)
            self.earned.name(pubkey, address)

    def new_account(self) -> tuple[bytes, str]:
        """Key and address of somebody who has nothing."""
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

    def pay_behind_its_back(self) -> None:
        """Carry out what is recorded, without a word to the book."""
        forgotten = self.open()
        assert [payout.transaction_ref for payout in forgotten] == [None, None]

        async def pay(purse: Any) -> None:
            for payout in forgotten:
                prepared = await purse.prepare(payout, ())
                await purse.send(prepared.transaction_data)

        self.with_purse(pay)

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


def signed_transfer(payout: OpenPayout) -> str:
    """What the token is asked to do by a payout's transaction."""
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    raw = msgspec.json.decode(payout.transaction_data or "")["raw"]
    return bytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"]).hex()


class FusedPurse:
    """A real purse that can end a run before and after it sends."""

    def __init__(self, purse: Any, fuse: Fuse) -> None:
        self._purse = purse
        self._fuse = fuse
        self.address = purse.address
        self.check = purse.check
        self.funds = purse.funds
        self.outcome = purse.outcome
        self.renew = purse.renew

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


def failed(scene: Scene) -> dict[str, str | None]:
    """The transfer of Ann fails on the chain, and the run is over: the transactions of both payouts."""
    scene.local.faults.revert_transactions = 1
    assert scene.run(rounds=0).open == 2
    return references(scene)


def references(scene: Scene) -> dict[str, str | None]:
    return {payout.provider_pubkey: payout.transaction_ref for payout in scene.open()}


def transactions_of(scene: Scene, address: str) -> int:
    """How many transactions of an account are in blocks."""
    return int(scene.local.methods["eth_getTransactionCount"](address, "latest"), 16)


def test_what_failed_on_the_chain_is_sent_anew_by_the_next_run_as_the_same_transfer(on_evm: Scene) -> None:
    before = failed(on_evm)
    (authorized,) = {signed_transfer(payout) for payout in on_evm.open() if payout.provider_pubkey == ANN}
    on_evm.local.faults.hold_transactions = True
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=1)
    (anew,) = on_evm.open()
    assert anew.transaction_ref not in before.values()
    assert signed_transfer(anew) == authorized
    assert str(before[ANN]) in str(anew.transaction_data)
    on_evm.local.faults.hold_transactions = False
    on_evm.local.release()
    assert on_evm.run() == Report(settled=1, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_what_failed_in_this_run_is_sent_anew_while_it_waits(on_evm: Scene) -> None:
    on_evm.local.faults.revert_transactions = 1
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_killed_at_any_point_it_sends_anew_what_failed_and_pays_once(on_evm: Scene, tmp_path: Path) -> None:
    for at in itertools.count(1):
        again = Scene(tmp_path / str(at), on_evm.chain, on_evm.local)
        failed(again)
        fuse = Fuse(at)
        with contextlib.suppress(Killed):
            again.run(fuse)
        if not fuse.blown:
            break
        assert again.run().open == 0
        again.both_were_paid_once()
        assert transactions_of(again, again.operator) == 3
        again.earned.store.close()
    assert at > 8


def test_both_of_its_transactions_may_come_into_blocks_and_it_is_paid_once(on_evm: Scene) -> None:
    """A chain that took back a block in which the first one failed, and puts both into later ones."""
    assert on_evm.run(rounds=0).open == 2
    landed = set(references(on_evm).values())
    receipt = on_evm.local.methods["eth_getTransactionReceipt"]
    call = on_evm.local.methods["eth_call"]

    def failed_at_first(reference: str) -> Any:
        found = receipt(reference)
        return found | {"status": "0x0", "logs": []} if reference in landed else found

    on_evm.local.methods["eth_getTransactionReceipt"] = failed_at_first
    on_evm.local.methods["eth_call"] = lambda asked, at: (
        "0x" + "0" * 64 if asked["data"].startswith(AUTHORIZATION_STATE) else call(asked, at)
    )
    on_evm.local.methods["eth_estimateGas"] = lambda *call: hex(100_000)
    on_evm.run(rounds=0)
    assert landed.isdisjoint(references(on_evm).values())
    on_evm.local.methods |= {"eth_getTransactionReceipt": receipt, "eth_call": call}
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()
    paid = {payout.transaction_ref for key in (ANN, BEN) for payout in on_evm.earned.store.payouts_of(key, 9)}
    assert paid == landed
    assert transactions_of(on_evm, on_evm.operator) == 4


def test_what_failed_in_a_block_that_is_not_final_is_not_sent_anew(on_evm: Scene) -> None:
    methods = on_evm.local.methods
    block, call = methods["eth_getBlockByNumber"], methods["eth_call"]
    final = block("latest", False)
    methods["eth_getBlockByNumber"] = lambda tag, whole: final if tag == "finalized" else block(tag, whole)
    # In that block nothing was carried out yet.
    methods["eth_call"] = lambda asked, at: call(asked) if at == "latest" else "0x" + "0" * 64
    before = failed(on_evm)
    assert on_evm.run() == Report(settled=0, refused=0, open=2)
    assert references(on_evm) == before
    methods["eth_getBlockByNumber"], methods["eth_call"] = block, call
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_a_payout_has_three_transactions_at_most_and_then_waits_until_it_has_expired(on_evm: Scene) -> None:
    on_evm.earned.name(BEN, "nowhere")
    on_evm.local.faults.revert_transactions = 9
    for _ in range(3):
        assert on_evm.run().open == 1
    assert transactions_of(on_evm, on_evm.operator) == 3
    on_evm.local.faults.revert_transactions = 0
    assert on_evm.run(rounds=0).open == 1
    on_evm.earned.name(BEN, on_evm.ben)
    on_evm.expire()
    for _ in range(2):
        on_evm.run()
    on_evm.both_were_paid_once()


def test_what_failed_is_not_sent_anew_when_it_would_fail_again_and_that_is_told(
    on_evm: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    failed(on_evm)
    sent = transactions_of(on_evm, on_evm.operator)
    # Ben's transfer has landed.
    on_evm.local.spend(on_evm.operator, MicroUsd(997_000))
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=1)
    assert "would not transfer it" in caplog.text
    assert transactions_of(on_evm, on_evm.operator) == sent
    on_evm.local.fund(on_evm.operator, MicroUsd(997_000))
    assert on_evm.run() == Report(settled=1, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_a_transaction_that_was_sent_anew_and_dropped_keeps_its_place_before_those_of_others(
    on_evm: Scene,
) -> None:
    failed(on_evm)
    on_evm.earned.earn(BEN, 500)
    on_evm.local.faults.drop_transactions = 1
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=2)
    nonces = [msgspec.json.decode(payout.transaction_data or "")["nonce"] for payout in on_evm.open()]
    assert len(set(nonces)) == 2
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    assert on_evm.local.balance(on_evm.ann) == 5_000
    assert on_evm.local.balance(on_evm.ben) == 3_500


def test_what_failed_stays_open_while_there_is_no_money_for_fees(
    on_evm: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    before = failed(on_evm)
    money = on_evm.local.methods["eth_getBalance"]
    on_evm.local.methods["eth_getBalance"] = lambda *about: "0x1"
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=1)
    assert "too little to pay the chain's fees" in caplog.text
    assert references(on_evm) == {ANN: before[ANN]}
    on_evm.local.methods["eth_getBalance"] = money
    assert on_evm.run() == Report(settled=1, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_what_failed_shortly_before_it_expires_is_left_to_a_new_payout(on_evm: Scene) -> None:
    before = failed(on_evm)
    on_evm.local.advance(3_580)
    on_evm.local.chain.mine_empty(1)
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=1)
    assert references(on_evm) == {ANN: before[ANN]}
    on_evm.expire()
    for _ in range(2):
        on_evm.run()
    on_evm.both_were_paid_once()


def test_what_another_key_signed_is_not_sent_anew(on_evm: Scene) -> None:
    before = failed(on_evm)
    on_evm.key, other = on_evm.new_account()
    on_evm.local.fund_gas(other)
    # The token would take the same number of an authorization from it, too: that would be a second payment.
    on_evm.local.fund(other, MicroUsd(1_000_000))
    assert on_evm.run(rounds=0) == Report(settled=1, refused=0, open=1)
    assert references(on_evm) == {ANN: before[ANN]}


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
    on_evm.pay_behind_its_back()
    on_evm.local.advance(blocks)
    on_evm.local.chain.mine_empty(blocks)
    assert on_evm.run() == Report(settled=2, refused=0, open=0)
    on_evm.both_were_paid_once()


def test_what_it_forgot_to_have_paid_is_found_though_the_coordinators_clock_was_ahead_of_the_chains(
    on_evm: Scene,
) -> None:
    on_evm.earned.clock = FakeClock(int(time.time() + 3_000) * 1000)
    with contextlib.suppress(Killed):
        on_evm.run(Fuse(3))
    on_evm.pay_behind_its_back()
    # By the coordinator's clock it is recorded many blocks later, and long before those that are newest.
    on_evm.local.chain.mine_empty(300)
    on_evm.local.advance(4_000)
    on_evm.local.chain.mine_empty(1_000)
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
    scene.key = scene.new_account()[0]
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
    methods = on_solana.local.methods
    methods["getFirstAvailableBlock"] = lambda: 10**9
    assert on_solana.run() == Report(settled=0, refused=0, open=2)
    methods["getFirstAvailableBlock"] = lambda: 0
    assert on_solana.run(rounds=0).refused == 2


def test_nonces_have_no_gap_and_are_used_once(on_evm: Scene) -> None:
    on_evm.local.faults.drop_transactions = 1
    on_evm.run(rounds=0)
    assert on_evm.run().open == 0
    on_evm.both_were_paid_once()


def test_what_another_purse_has_under_way_leaves_no_gap_in_the_nonces_of_this_one(on_evm: Scene) -> None:
    on_evm.local.faults.hold_transactions = True
    assert on_evm.run(rounds=0).open == 2
    on_evm.local.faults.hold_transactions = False
    on_evm.key, on_evm.operator = on_evm.new_account()
    on_evm.local.fund(on_evm.operator, MicroUsd(1_000_000))
    on_evm.local.fund_gas(on_evm.operator)
    _, address = on_evm.new_account()
    on_evm.earned.earn(key("c"), 700)
    on_evm.earned.name(key("c"), address)
    assert on_evm.run() == Report(settled=1, refused=0, open=2)
    assert on_evm.local.balance(address) == 700


def test_a_purse_with_too_little_for_the_fee_signs_nothing(on_evm: Scene) -> None:
    on_evm.local.chain.set_native_balance(bytes.fromhex(on_evm.operator[2:]), 1)
    with pytest.raises(PurseError, match="fees"):
        on_evm.run()
    assert [payout.transaction_ref for payout in on_evm.open()] == [None, None]
    on_evm.local.fund_gas(on_evm.operator)
    assert on_evm.run().settled == 2
    on_evm.both_were_paid_once()


def test_a_node_that_is_behind_what_it_said_of_the_newest_block_makes_no_payout_owed_again(
    on_solana: Scene,
) -> None:
    on_solana.local.faults.drop_transactions = 2
    on_solana.run(rounds=0)
    on_solana.expire()
    statuses = on_solana.local.methods["getSignatureStatuses"]
    on_solana.local.methods["getSignatureStatuses"] = lambda *asked: (
        statuses(*asked) | {"context": {"slot": 1}}
    )
    assert on_solana.run() == Report(settled=0, refused=0, open=2)
    on_solana.local.methods["getSignatureStatuses"] = statuses
    assert on_solana.run(rounds=0).refused == 2


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
