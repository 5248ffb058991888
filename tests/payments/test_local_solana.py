"""The local Solana chain behaves as wallets, facilitators and chain readers know it from a real node."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from compute_router.protocol.units import MicroUsd

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from tools.local_chains.solana import LocalSolana

TEN_CENTS = MicroUsd(100_000)
A_CENT = MicroUsd(10_000)


class Rpc:
    """Calls of one chain."""

    def __init__(self, solana: LocalSolana) -> None:
        self.url = solana.rpc_url

    def ask(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(self.url, json=body, trust_env=False).json()

    def value(self, method: str, *params: Any) -> Any:
        return self.ask(method, *params)["result"]["value"]


@pytest.fixture
def rpc(solana: LocalSolana) -> Rpc:
    return Rpc(solana)


@pytest.fixture
def payer(solana: LocalSolana) -> Keypair:
    keypair = solana.new_key()
    solana.fund(str(keypair.pubkey()), TEN_CENTS)
    solana.fund_gas(str(keypair.pubkey()))
    return keypair


@pytest.fixture
def receiver(solana: LocalSolana) -> str:
    address = str(solana.new_key().pubkey())
    solana.fund(address, MicroUsd(0))
    return address


def transfer(rpc: Rpc, payer: Keypair, receiver: str, units: int = A_CENT) -> str:
    """A signed transfer in base64."""
    from solders.hash import Hash
    from solders.instruction import AccountMeta, Instruction
    from solders.message import MessageV0
    from solders.pubkey import Pubkey
    from solders.transaction import VersionedTransaction

    from tools.local_chains.solana_chain import MINT, TOKEN_PROGRAM, token_account

    instruction = Instruction(
        TOKEN_PROGRAM,
        bytes([12]) + units.to_bytes(8, "little") + bytes([6]),
        [
            AccountMeta(token_account(payer.pubkey()), is_signer=False, is_writable=True),
            AccountMeta(MINT, is_signer=False, is_writable=False),
            AccountMeta(token_account(Pubkey.from_string(receiver)), is_signer=False, is_writable=True),
            AccountMeta(payer.pubkey(), is_signer=True, is_writable=False),
        ],
    )
    blockhash = Hash.from_string(rpc.value("getLatestBlockhash")["blockhash"])
    message = MessageV0.try_compile(payer.pubkey(), [instruction], [], blockhash)
    return base64.b64encode(bytes(VersionedTransaction(message, [payer]))).decode()


def sent(rpc: Rpc, transaction: str, *, preflight: bool = False) -> Any:
    options = {"encoding": "base64", "skipPreflight": not preflight}
    return rpc.ask("sendTransaction", transaction, options)


def status(rpc: Rpc, signature: str) -> Any:
    return rpc.value("getSignatureStatuses", [signature], {"searchTransactionHistory": True})[0]


def test_it_says_that_it_is_devnet(solana: LocalSolana, rpc: Rpc) -> None:
    assert rpc.ask("getGenesisHash")["result"].startswith("EtWTRABZaYq6iMfeYKouRu166VU2xqa1")
    assert rpc.value("getAccountInfo", solana.token, {"encoding": "base64"})["owner"].startswith("Tokenkeg")


def test_a_signed_transfer_moves_money_once(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    transaction = transfer(rpc, payer, receiver)

    signature = sent(rpc, transaction, preflight=True)["result"]

    assert status(rpc, signature)["err"] is None
    assert status(rpc, signature)["confirmationStatus"] == "confirmed"
    assert sent(rpc, transaction)["result"] == signature
    assert (solana.balance(str(payer.pubkey())), solana.balance(receiver)) == (90_000, 10_000)
    listed = rpc.ask("getSignaturesForAddress", str(payer.pubkey()))["result"]
    assert [entry["signature"] for entry in listed] == [signature]


def test_a_transfer_without_the_money_lands_as_failed(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    transaction = transfer(rpc, payer, receiver)
    solana.spend(str(payer.pubkey()), MicroUsd(95_000))

    assert "simulation failed" in sent(rpc, transaction, preflight=True)["error"]["message"]
    signature = sent(rpc, transaction)["result"]

    assert status(rpc, signature)["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert solana.balance(receiver) == 0


def test_a_transfer_to_somebody_without_a_token_account_fails(
    solana: LocalSolana, rpc: Rpc, payer: Keypair
) -> None:
    stranger = str(solana.new_key().pubkey())

    signature = sent(rpc, transfer(rpc, payer, stranger))["result"]

    assert status(rpc, signature)["err"] is not None
    assert rpc.ask("getTokenAccountBalance", stranger)["error"]["code"] == -32602


def test_a_blockhash_expires_and_its_transaction_with_it(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    transaction = transfer(rpc, payer, receiver)
    blockhash = rpc.value("getLatestBlockhash")["blockhash"]
    assert rpc.value("isBlockhashValid", blockhash) is True

    solana.advance(61)

    assert rpc.value("isBlockhashValid", blockhash) is False
    assert rpc.value("simulateTransaction", transaction, {"encoding": "base64"})["err"] == "BlockhashNotFound"
    assert status(rpc, sent(rpc, transaction)["result"]) is None
    assert solana.balance(receiver) == 0


def test_a_signature_by_somebody_else_is_refused(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    from solders.transaction import VersionedTransaction

    signed = VersionedTransaction.from_bytes(base64.b64decode(transfer(rpc, payer, receiver)))
    wrong = solana.new_key().sign_message(b"something else")
    forged = VersionedTransaction.populate(signed.message, [wrong])

    answer = sent(rpc, base64.b64encode(bytes(forged)).decode())

    assert answer["error"]["code"] == -32003
    assert solana.balance(receiver) == 0


def test_old_statuses_must_be_searched_for(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    signature = sent(rpc, transfer(rpc, payer, receiver))["result"]

    solana.advance(120)

    assert rpc.value("getSignatureStatuses", [signature]) == [None]
    assert status(rpc, signature)["confirmationStatus"] == "finalized"


def test_a_reverted_transaction_has_a_status_and_moves_nothing(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    solana.faults.revert_transactions = 1

    signature = sent(rpc, transfer(rpc, payer, receiver))["result"]

    assert status(rpc, signature)["err"] == {"InstructionError": [2, {"Custom": 1}]}
    assert solana.balance(receiver) == 0


def test_a_refused_broadcast_changes_nothing(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    solana.faults.refuse_broadcasts = 1

    assert sent(rpc, transfer(rpc, payer, receiver))["error"]["code"] == -32005
    assert solana.balance(receiver) == 0


def test_a_lost_answer_is_a_transaction_that_happened(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    solana.faults.lose_answers = 1

    with pytest.raises(httpx.RemoteProtocolError):
        sent(rpc, transfer(rpc, payer, receiver))

    assert solana.balance(receiver) == A_CENT


def test_a_dropped_transaction_never_comes(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    solana.faults.drop_transactions = 1

    assert status(rpc, sent(rpc, transfer(rpc, payer, receiver))["result"]) is None
    assert solana.balance(receiver) == 0


def test_held_transactions_come_when_they_are_released(
    solana: LocalSolana, rpc: Rpc, payer: Keypair, receiver: str
) -> None:
    solana.faults.hold_transactions = True
    signature = sent(rpc, transfer(rpc, payer, receiver))["result"]
    assert status(rpc, signature) is None

    solana.release()

    assert status(rpc, signature)["err"] is None
    assert solana.balance(receiver) == A_CENT


def test_a_chain_can_be_steered_over_its_address(solana: LocalSolana, rpc: Rpc, receiver: str) -> None:
    rpc.ask("local_faults", {"down": True})
    assert httpx.post(solana.rpc_url, json={"method": "getSlot"}, trust_env=False).status_code == 503

    rpc.ask("local_fund", receiver, A_CENT)
    rpc.ask("local_faults", {"down": False})

    assert rpc.value("getTokenAccountsByOwner", receiver, {"mint": solana.token}, {"encoding": "jsonParsed"})[
        0
    ]["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] == str(A_CENT)
    assert rpc.ask("local_faults", {"melted": True})["error"]["code"] == -32602
