"""Nodes that do not know what they seem to say: of another chain, without history, or behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.protocol.payments import NotSettled, Payment, Settled, StillOpen
from compute_router.transport.payments import solana_chain_reader
from compute_router.transport.payments.json_rpc import ChainUnreadableError
from tests.payments.paying import Scene, SolanaScene
from tools.local_chains.rpc_server import RpcError

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana


def settled(scene: Scene, inner: dict[str, Any]) -> Settled:
    with scene.facilitator() as facilitator:
        return Settled(facilitator.settle(scene.body(inner)).transaction)


def test_a_node_of_another_chain_tells_nothing_of_a_payment(scene: Scene) -> None:
    payment = scene.payment(scene.signed())
    methods = scene.local.methods
    methods["eth_chainId"] = lambda: "0x1"
    methods["getGenesisHash"] = lambda: "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
    scene.expire()
    with pytest.raises(ChainUnreadableError, match="The node is"):
        scene.outcome(payment)


def test_which_chain_a_node_is_of_is_asked_once(scene: Scene) -> None:
    payment = scene.payment(scene.signed())

    async def scenario() -> None:
        reader = scene.reader()
        for _ in range(3):
            assert await reader.outcome(payment) == StillOpen()
        await reader.close()

    asyncio.run(scenario())
    asked = scene.local.requests
    assert asked.get("eth_chainId", 0) + asked.get("getGenesisHash", 0) == 1


def test_a_node_that_lost_its_history_does_not_void_what_was_paid(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    inner = on_solana.signed()
    payment = on_solana.payment(inner, expires_in=45)
    settlement = settled(on_solana, inner)
    history = dict(solana.chain.landed)
    on_solana.expire()
    solana.forget()
    with pytest.raises(ChainUnreadableError, match="too little history"):
        on_solana.outcome(payment)
    solana.chain.landed.update(history)
    assert on_solana.outcome(payment) == settlement


def test_a_node_whose_history_begins_long_before_a_payment_knows_that_it_never_landed(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    payment = on_solana.payment(on_solana.signed(), expires_in=45)
    on_solana.expire()
    solana.forget()
    methods = solana.methods
    for began, known in ((-3_300, False), (-4_000, True)):
        methods["getBlockTime"] = lambda _, at=began: int(payment.expires_at / 1000) + at
        if known:
            assert on_solana.outcome(payment) == NotSettled("blockhash_expired")
        else:
            with pytest.raises(ChainUnreadableError):
                on_solana.outcome(payment)


@pytest.mark.parametrize("nonsense", [None, "1", {}, -1.5])
def test_nonsense_about_a_nodes_history_is_no_history(
    on_solana: SolanaScene, solana: LocalSolana, nonsense: Any
) -> None:
    payment = on_solana.payment(on_solana.signed(), expires_in=45)
    on_solana.expire()
    solana.forget()
    solana.methods["getBlockTime"] = lambda _: nonsense
    with pytest.raises(ChainUnreadableError):
        on_solana.outcome(payment)


def test_a_node_that_is_behind_is_not_asked_what_landed(on_solana: SolanaScene, solana: LocalSolana) -> None:
    payment = on_solana.payment(on_solana.signed(), expires_in=45)
    on_solana.expire()
    newest = solana.chain.slot

    def behind(_: str, options: dict[str, Any]) -> Any:
        assert options["minContextSlot"] >= newest
        raise RpcError(-32016, "Minimum context slot has not been reached")

    solana.methods["getSignaturesForAddress"] = behind
    with pytest.raises(ChainUnreadableError):
        on_solana.outcome(payment)


# A payer with many transactions, and a payment that is asked about late.


def asked_until_told(scene: SolanaScene, payment: Payment) -> tuple[object, int]:
    """What a reader says in the end, and how often it could not."""

    async def scenario() -> tuple[object, int]:
        reader = scene.reader()
        try:
            for unreadable in range(30):
                try:
                    return await reader.outcome(payment), unreadable
                except ChainUnreadableError:
                    pass
            raise AssertionError("there was no end to it")
        finally:
            await reader.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize("paid", [True, False])
def test_a_payer_with_more_transactions_than_are_looked_through_at_once_is_looked_through_in_several_times(
    on_solana: SolanaScene, solana: LocalSolana, monkeypatch: pytest.MonkeyPatch, paid: bool
) -> None:
    monkeypatch.setattr(solana_chain_reader, "_PAGE", 2)
    monkeypatch.setattr(solana_chain_reader, "_MOST_PAGES", 2)
    inner = on_solana.signed()
    payment = on_solana.payment(inner, expires_in=45)
    settlement = settled(on_solana, inner) if paid else NotSettled("blockhash_expired")
    for _ in range(11):
        settled(on_solana, on_solana.signed())
    on_solana.expire()
    outcome, unreadable = asked_until_told(on_solana, payment)
    assert outcome == settlement
    assert unreadable == 2


@pytest.mark.parametrize("hours", [-20, 20])
def test_a_settlement_is_found_though_the_coordinators_clock_was_wrong_when_it_took_the_payment(
    on_solana: SolanaScene, solana: LocalSolana, hours: int
) -> None:
    inner = on_solana.signed()
    payment = on_solana.payment(inner, expires_in=hours * 3600 + 45)
    settlement = settled(on_solana, inner)
    assert on_solana.outcome(payment) == settlement
    solana.advance(600)
    assert on_solana.outcome(payment) == settlement


def test_transactions_of_long_after_a_payment_are_not_fetched(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    inner = on_solana.signed()
    payment = on_solana.payment(inner, expires_in=45)
    settlement = settled(on_solana, inner)
    solana.advance(25 * 3600)
    for _ in range(5):
        settled(on_solana, on_solana.signed())
    on_solana.expire()
    solana.requests.clear()
    assert on_solana.outcome(payment) == settlement
    assert solana.requests["getTransaction"] == 1


def test_no_transaction_of_a_payer_is_fetched_twice_for_however_many_payments(
    on_solana: SolanaScene, solana: LocalSolana
) -> None:
    unnamed = [on_solana.signed(memo=f"not a name {number}") for number in range(3)]
    waiting = [on_solana.payment(inner, expires_in=45) for inner in unnamed]
    for _ in range(5):
        settled(on_solana, on_solana.signed())
    fetch, fetched = solana.methods["getTransaction"], list[str]()

    def only_two_at_a_time(signature: str, *options: Any) -> Any:
        fetched.append(signature)
        if len(fetched) % 3 == 0:
            raise RpcError(-32005, "limit exceeded")
        return fetch(signature, *options)

    solana.methods["getTransaction"] = only_two_at_a_time

    async def scenario() -> None:
        reader = on_solana.reader()
        told = 0
        while told < len(waiting):
            try:
                assert await reader.outcome(waiting[told]) == StillOpen()
                told += 1
            except ChainUnreadableError:
                assert len(fetched) < 20
        await reader.close()

    asyncio.run(scenario())
    assert len(set(fetched)) == 5
    assert len(fetched) == 5 + 2
