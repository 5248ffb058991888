"""What the chain readers find on real local chains, and what they do when a node is slow, down or odd."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from compute_router.protocol.chain_addresses import keccak_256
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS, NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments import evm_chain_reader, settling_logs
from compute_router.transport.payments.chain_readers import open_chain_reader
from compute_router.transport.payments.evm_chain_reader import EvmChainReader
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc, NodeError
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene
from tools.local_chains.faults import Faults
from tools.local_chains.rpc_server import RpcError, RpcServer

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

PATIENCE_SECONDS = 30.0


def test_the_balance_is_what_the_payer_has(scene: Scene) -> None:
    assert scene.read_balance(scene.seeker) == 1_000_000
    assert scene.read_balance(scene.pay_to) == 0


def test_who_has_no_token_account_has_nothing(on_solana: SolanaScene) -> None:
    assert on_solana.read_balance(str(on_solana.local.new_key().pubkey())) == 0  # type: ignore[union-attr]


def test_a_payment_is_found_among_others_of_the_same_payer(scene: Scene) -> None:
    payments = [scene.signed() for _ in range(3)]
    unused = scene.signed()
    with scene.facilitator() as facilitator:
        ended = [facilitator.settle(scene.body(inner)) for inner in payments]
    for inner, one in zip(payments, ended, strict=True):
        assert scene.outcome(scene.payment(inner)) == Settled(one.transaction)
    assert scene.outcome(scene.payment(unused)) == StillOpen()


def test_a_failed_transaction_did_not_settle(on_solana: SolanaScene) -> None:
    inner = on_solana.signed()
    on_solana.local.faults.revert_transactions = 1
    with on_solana.facilitator() as facilitator:
        assert not facilitator.settle(on_solana.body(inner)).success
    assert on_solana.outcome(on_solana.payment(inner)) == NotSettled("transaction_failed")


def test_an_authorization_whose_transaction_failed_is_still_open(on_evm: EvmScene) -> None:
    inner = on_evm.signed()
    on_evm.local.faults.revert_transactions = 1
    with on_evm.facilitator() as facilitator:
        assert not facilitator.settle(on_evm.body(inner)).success
    assert on_evm.outcome(on_evm.payment(inner)) == StillOpen()


def test_an_old_settlement_is_found_where_a_node_searches_few_blocks_at_once(
    on_evm: EvmScene, evm: LocalEvm
) -> None:
    inner = on_evm.signed()
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(on_evm.body(inner))
    evm.chain.mine_empty(2500)
    assert on_evm.outcome(on_evm.payment(inner)) == Settled(ended.transaction)


def test_a_nonce_that_was_used_to_pay_somebody_else_is_no_settlement(on_evm: EvmScene, evm: LocalEvm) -> None:
    inner = on_evm.signed()
    elsewhere = evm.new_key().address
    other = on_evm.signed(to=elsewhere, nonce=inner["authorization"]["nonce"])
    with on_evm.facilitator() as facilitator:
        assert facilitator.settle(on_evm.body(other, payTo=elsewhere)).success
        assert facilitator.settle(on_evm.body(inner)).error_reason == "invalid_exact_evm_nonce_already_used"
    assert on_evm.outcome(on_evm.payment(inner)) == NotSettled("authorization_used_for_another_payment")


# The facilitator names a transaction: that is where to look first, and no more.


def named(payment: Payment, reference: str) -> Payment:
    return msgspec.structs.replace(payment, transaction_ref=reference)


def test_a_named_transaction_is_believed_when_the_chain_shows_the_payment_in_it(scene: Scene) -> None:
    inner = scene.signed()
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    assert scene.outcome(named(scene.payment(inner), ended.transaction)) == Settled(ended.transaction)


def test_a_named_transaction_that_settled_another_payment_proves_nothing(scene: Scene) -> None:
    first, second, unused = scene.signed(), scene.signed(), scene.signed()
    with scene.facilitator() as facilitator:
        one, two = (facilitator.settle(scene.body(inner)) for inner in (first, second))
    assert scene.outcome(named(scene.payment(unused), one.transaction)) == StillOpen()
    assert scene.outcome(named(scene.payment(second), one.transaction)) == Settled(two.transaction)


def test_a_named_transaction_that_there_is_not_proves_nothing(scene: Scene) -> None:
    inner, unused = scene.signed(), scene.signed()
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    for nonsense in ("0x" + "5" * 64, "5" * 88, "nothing"):
        assert scene.outcome(named(scene.payment(inner), nonsense)) == Settled(ended.transaction)
        assert scene.outcome(named(scene.payment(unused), nonsense)) == StillOpen()


def test_a_named_transaction_that_paid_somebody_else_is_no_settlement(
    on_evm: EvmScene, evm: LocalEvm
) -> None:
    inner = on_evm.signed()
    elsewhere = evm.new_key().address
    other = on_evm.signed(to=elsewhere, nonce=inner["authorization"]["nonce"])
    with on_evm.facilitator() as facilitator:
        ended = facilitator.settle(on_evm.body(other, payTo=elsewhere))
    outcome = on_evm.outcome(named(on_evm.payment(inner), ended.transaction))
    assert outcome == NotSettled("authorization_used_for_another_payment")


def test_a_named_transaction_that_failed_did_not_settle(on_solana: SolanaScene) -> None:
    inner = on_solana.signed()
    on_solana.local.faults.revert_transactions = 1
    with on_solana.facilitator() as facilitator:
        ended = facilitator.settle(on_solana.body(inner))
    assert ended.transaction
    outcome = on_solana.outcome(named(on_solana.payment(inner), ended.transaction))
    assert outcome == NotSettled("transaction_failed")


def test_a_blockhash_that_a_node_does_not_know_yet_is_not_taken_for_an_old_one(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    inner = on_solana.signed()
    solana.advance(120)
    assert on_solana.outcome(on_solana.payment(inner, expires_in=45)) == StillOpen()
    on_solana.expire()
    assert on_solana.outcome(on_solana.payment(inner, expires_in=45)) == NotSettled("blockhash_expired")


def test_a_blockhash_that_is_over_on_a_fork_only_is_not_over(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    payment = on_solana.payment(on_solana.signed(), expires_in=45)
    on_solana.expire()

    def good_at(*commitments: str) -> Callable[..., Any]:
        return lambda _, options: {
            "context": {"slot": solana.chain.slot},
            "value": options["commitment"] in commitments,
        }

    for one in ("processed", "finalized"):
        solana.methods["isBlockhashValid"] = good_at(one)
        assert on_solana.outcome(payment) == StillOpen()
    solana.methods["isBlockhashValid"] = good_at()
    assert on_solana.outcome(payment) == NotSettled("blockhash_expired")


def test_what_landed_in_time_is_settled_however_late_it_is_asked_for(scene: Scene) -> None:
    inner = scene.signed()
    payment = scene.payment(inner, expires_in=45)
    with scene.facilitator() as facilitator:
        ended = facilitator.settle(scene.body(inner))
    scene.expire()
    scene.reader_now = lambda: payment.expires_at / 1000 + 86_400
    assert scene.outcome(payment) == Settled(ended.transaction)


def test_a_node_that_is_down_tells_nothing(scene: Scene) -> None:
    payment = scene.payment(scene.signed())
    scene.local.faults.down = True
    with pytest.raises(ChainUnreadableError) as unreadable:
        scene.outcome(payment)
    assert scene.local.rpc_url not in str(unreadable.value)
    with pytest.raises(ChainUnreadableError):
        scene.read_balance(scene.seeker)


class SlowNode:
    """A node that answers the first question about a balance only when it is told to."""

    def __init__(self, scene: Scene) -> None:
        name = {Chain.MONAD: "eth_call", Chain.SOLANA: "getTokenAccountBalance"}[scene.chain]
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self._answer = scene.local.methods[name]
        scene.local.methods[name] = self._late

    def _late(self, *params: Any) -> Any:
        if not self.asked.is_set():
            self.asked.set()
            self.may_answer.wait(PATIENCE_SECONDS)
        return self._answer(*params)


def test_a_node_that_is_slow_is_given_up_in_time(scene: Scene) -> None:
    node = SlowNode(scene)

    async def scenario() -> None:
        reader = open_chain_reader(scene.chain, scene.local.rpc_url, seconds=0.2)
        with pytest.raises(ChainUnreadableError, match="in time"):
            await reader.balance(scene.seeker)
        await reader.close()

    asyncio.run(scenario())
    node.may_answer.set()


def test_while_a_node_is_slow_other_questions_are_answered(scene: Scene) -> None:
    node = SlowNode(scene)

    async def scenario() -> None:
        reader = open_chain_reader(scene.chain, scene.local.rpc_url, seconds=PATIENCE_SECONDS)
        slow = asyncio.create_task(reader.balance(scene.seeker))
        assert await asyncio.to_thread(node.asked.wait, PATIENCE_SECONDS)
        assert await reader.balance(scene.pay_to) == 0
        assert not slow.done()
        node.may_answer.set()
        assert await slow == 1_000_000
        await reader.close()

    asyncio.run(scenario())


def test_nobody_listening_is_unreadable(scene: Scene) -> None:
    async def scenario() -> None:
        reader = open_chain_reader(scene.chain, "http://127.0.0.1:1/secret-key")
        with pytest.raises(ChainUnreadableError) as unreadable:
            await reader.balance(scene.seeker)
        assert "secret-key" not in str(unreadable.value)
        await reader.close()

    asyncio.run(scenario())


def test_the_names_of_functions_and_events_are_their_hashes() -> None:
    def named(text: str) -> str:
        return "0x" + keccak_256(text.encode()).hex()

    assert named("balanceOf(address)").startswith(evm_chain_reader.BALANCE_OF)
    assert named("authorizationState(address,bytes32)").startswith(evm_chain_reader.AUTHORIZATION_STATE)
    assert named("AuthorizationUsed(address,bytes32)") == settling_logs.AUTHORIZATION_USED
    assert named("AuthorizationCanceled(address,bytes32)") == evm_chain_reader.AUTHORIZATION_CANCELED
    assert named("Transfer(address,address,uint256)") == settling_logs.TRANSFER


# Nodes that no chain of ours is: played by hand.

ONE = "0x" + "1".rjust(64, "0")
BLOCK = {"number": "0x64", "timestamp": "0x1"}


@contextmanager
def node(**methods: Callable[..., Any]) -> Iterator[str]:
    server = RpcServer({"eth_chainId": lambda: hex(10143)} | methods, Faults())
    try:
        yield server.url
    finally:
        server.close()


def read(url: str, scene: EvmScene, payment: Payment | None = None) -> Settled | NotSettled | StillOpen:
    payment = payment or scene.payment(scene.signed())

    async def ask() -> Settled | NotSettled | StillOpen:
        reader = EvmChainReader(JsonRpc(url), PAYMENT_NETWORKS[Chain.MONAD].asset)
        try:
            return await reader.outcome(payment)
        finally:
            await reader.close()

    return asyncio.run(ask())


def test_a_cancelled_authorization_did_not_settle(on_evm: EvmScene) -> None:
    log = {"topics": [evm_chain_reader.AUTHORIZATION_CANCELED], "transactionHash": ONE}
    with node(
        eth_getBlockByNumber=lambda *_: BLOCK, eth_call=lambda *_: ONE, eth_getLogs=lambda *_: [log]
    ) as url:
        assert read(url, on_evm) == NotSettled("authorization_cancelled")


def test_a_used_authorization_without_a_log_is_unreadable_and_neither_settled_nor_void(
    on_evm: EvmScene,
) -> None:
    with (
        node(
            eth_getBlockByNumber=lambda *_: BLOCK, eth_call=lambda *_: ONE, eth_getLogs=lambda *_: []
        ) as url,
        pytest.raises(ChainUnreadableError, match="no log"),
    ):
        read(url, on_evm)


def test_a_named_transaction_counts_when_its_block_is_final(on_evm: EvmScene) -> None:
    payment = on_evm.payment(on_evm.signed())
    said = json.loads(payment.payload)["payload"]["authorization"]
    payer, to = (one.removeprefix("0x").lower().rjust(64, "0") for one in (said["from"], said["to"]))
    token = PAYMENT_NETWORKS[Chain.MONAD].asset
    logs = [
        {
            "address": token,
            "logIndex": "0x7",
            "topics": [settling_logs.AUTHORIZATION_USED, f"0x{payer}", said["nonce"]],
        },
        {
            "address": token,
            "logIndex": "0x8",
            "topics": [settling_logs.TRANSFER, f"0x{payer}", f"0x{to}"],
            "data": hex(payment.amount),
        },
    ]

    def receipt_in(block: int) -> Callable[..., Any]:
        return lambda *_: {"blockNumber": hex(block), "logs": logs}

    final, unused = int(BLOCK["number"], 16), "0x" + "0" * 64
    for block, outcome in ((final, Settled(ONE)), (final + 1, StillOpen())):
        with node(
            eth_getBlockByNumber=lambda *_: BLOCK,
            eth_call=lambda *_: unused,
            eth_getTransactionReceipt=receipt_in(block),
        ) as url:
            assert read(url, on_evm, named(payment, ONE)) == outcome


@pytest.mark.parametrize(
    "nonsense", [5, {}, {"logs": 1}, {"blockNumber": "0x1", "logs": [{}]}, {"blockNumber": {}}]
)
def test_nonsense_about_a_named_transaction_proves_nothing(on_evm: EvmScene, nonsense: Any) -> None:
    with node(
        eth_getBlockByNumber=lambda *_: BLOCK,
        eth_call=lambda *_: "0x" + "0" * 64,
        eth_getTransactionReceipt=lambda *_: nonsense,
    ) as url:
        assert read(url, on_evm, named(on_evm.payment(on_evm.signed()), ONE)) == StillOpen()


def test_a_node_that_knows_nothing_of_finality_is_asked_for_its_newest_block(on_evm: EvmScene) -> None:
    def block(tag: str, _: bool) -> Any:
        if tag == "finalized":
            raise RpcError(-32602, "unknown block tag")
        return BLOCK

    with node(eth_getBlockByNumber=block, eth_call=lambda *_: "0x" + "0" * 64) as url:
        assert read(url, on_evm) == StillOpen()


def test_an_error_about_the_last_final_block_is_no_reason_to_believe_a_newer_one(on_evm: EvmScene) -> None:
    asked: list[str] = []
    errors = [RpcError(-32005, "limit exceeded"), RpcError(-32000, "header not found")]

    def block(tag: str, _: bool) -> Any:
        asked.append(tag)
        if errors:
            raise errors.pop()
        return BLOCK

    with node(eth_getBlockByNumber=block, eth_call=lambda *_: "0x" + "0" * 64) as url:
        for _ in range(2):
            with pytest.raises(NodeError):
                read(url, on_evm)
        assert read(url, on_evm) == StillOpen()
    assert set(asked) == {"finalized"}


def test_a_node_that_knew_a_final_block_is_never_asked_for_a_newer_one(on_evm: EvmScene) -> None:
    answers: list[Any] = [BLOCK, RpcError(-32602, "unknown block tag"), BLOCK]
    asked: list[str] = []

    def block(tag: str, _: bool) -> Any:
        asked.append(tag)
        answer = answers.pop(0)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def scenario(url: str) -> None:
        reader = EvmChainReader(JsonRpc(url), PAYMENT_NETWORKS[Chain.MONAD].asset)
        payment = on_evm.payment(on_evm.signed())
        assert await reader.outcome(payment) == StillOpen()
        with pytest.raises(NodeError):
            await reader.outcome(payment)
        assert await reader.outcome(payment) == StillOpen()
        await reader.close()

    with node(eth_getBlockByNumber=block, eth_call=lambda *_: "0x" + "0" * 64) as url:
        asyncio.run(scenario(url))
    assert asked == ["finalized"] * 3


@pytest.mark.parametrize("nonsense", [None, 5, "0x", "0xzz", [], {}, {"number": 1}, "0x" + "g" * 64])
def test_nonsense_of_a_node_is_unreadable(on_evm: EvmScene, nonsense: Any) -> None:
    with node(eth_getBlockByNumber=lambda *_: nonsense) as url, pytest.raises(ChainUnreadableError):
        read(url, on_evm)
    with (
        node(eth_getBlockByNumber=lambda *_: BLOCK, eth_call=lambda *_: nonsense) as url,
        pytest.raises(ChainUnreadableError),
    ):
        read(url, on_evm)


def test_an_error_of_a_node_keeps_its_words_to_itself() -> None:
    def refuse() -> Any:
        raise RpcError(-32005, "limit of key 1234 exceeded")

    async def scenario(url: str) -> None:
        rpc = JsonRpc(url)
        with pytest.raises(NodeError) as error:
            await rpc.call("eth_blockNumber")
        assert (error.value.rpc_code, "1234" in str(error.value)) == (-32005, False)
        await rpc.close()

    with node(eth_blockNumber=refuse) as url:
        asyncio.run(scenario(url))


def test_a_payment_record_holds_what_the_readers_need(scene: Scene) -> None:
    payment = scene.payment(scene.signed())
    assert json.loads(payment.payload)["payload"]
    assert payment.amount == PRICE == MicroUsd(10_000)
    assert msgspec.json.decode(payment.requirements)["maxTimeoutSeconds"] == 3600
