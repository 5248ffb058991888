"""The local EVM chain behaves as wallets, facilitators and chain readers know it from a real node."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.protocol.units import MicroUsd
from tests.fakes.signed_payments import TRANSFER

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.contract import Contract

    from tools.local_chains.evm import LocalEvm

TEN_CENTS = MicroUsd(100_000)
A_CENT = MicroUsd(10_000)
TOKEN_ABI = json.loads(
    (Path(__file__).parents[2] / "tools" / "local_chains" / "token" / "usdc.json").read_text("utf-8")
)["abi"]
NONCE = b"\x07" * 32


@pytest.fixture
def web3(evm: LocalEvm) -> Iterator[Web3]:
    from web3 import HTTPProvider, Web3

    provider = HTTPProvider(evm.rpc_url, exception_retry_configuration=None)
    yield Web3(provider)
    provider._request_session_manager.session_cache.clear()


@pytest.fixture
def token(evm: LocalEvm, web3: Web3) -> Contract:
    contract: Contract = web3.eth.contract(address=web3.to_checksum_address(evm.token), abi=TOKEN_ABI)
    return contract


@pytest.fixture
def payer(evm: LocalEvm) -> LocalAccount:
    account = evm.new_key()
    evm.fund(account.address, TEN_CENTS)
    return account


@pytest.fixture
def sender(evm: LocalEvm) -> LocalAccount:
    account = evm.new_key()
    evm.fund_gas(account.address)
    return account


class Authorization:
    """What a payer signed."""

    def __init__(self, evm: LocalEvm, payer: LocalAccount, to: str, **changes: Any) -> None:
        now = int(time.time())
        self.message: dict[str, Any] = {
            "from": payer.address,
            "to": to,
            "value": A_CENT,
            "validAfter": now - 60,
            "validBefore": now + 60,
            "nonce": NONCE,
        } | changes
        domain = {"name": "USDC", "version": "2", "chainId": 10143, "verifyingContract": evm.token}
        self.signed = payer.sign_typed_data(domain, {"TransferWithAuthorization": TRANSFER}, self.message)

    def in_parts(self, **changes: Any) -> tuple[Any, ...]:
        message = self.message | changes
        return (*message.values(), self.signed.v, self.signed.r.to_bytes(32), self.signed.s.to_bytes(32))

    def in_bytes(self) -> tuple[Any, ...]:
        return (*self.message.values(), bytes(self.signed.signature))


IN_PARTS = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
IN_BYTES = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"


def send(web3: Web3, call: Any, sender: LocalAccount, **fields: Any) -> bytes:
    nonce = web3.eth.get_transaction_count(sender.address, "pending")
    built = call.build_transaction(
        {"from": sender.address, "nonce": nonce, "gas": 300_000, "gasPrice": web3.eth.gas_price} | fields
    )
    return bytes(web3.eth.send_raw_transaction(sender.sign_transaction(built).raw_transaction))


def test_it_says_that_it_is_monad_testnet(web3: Web3, token: Contract) -> None:
    assert web3.eth.chain_id == 10143
    assert len(web3.eth.get_code(token.address)) > 0
    assert token.functions.name().call() == "USDC"
    assert token.functions.version().call() == "2"
    assert token.functions.decimals().call() == 6


@pytest.mark.parametrize("form", [IN_PARTS, IN_BYTES])
def test_a_signed_authorization_moves_money_once(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount, sender: LocalAccount, form: str
) -> None:
    receiver = evm.new_key().address
    authorization = Authorization(evm, payer, receiver)
    values = authorization.in_parts() if form is IN_PARTS else authorization.in_bytes()
    call = token.get_function_by_signature(form)(*values)

    receipt = web3.eth.wait_for_transaction_receipt(send(web3, call, sender))  # type: ignore[arg-type]

    assert receipt["status"] == 1
    assert (evm.balance(payer.address), evm.balance(receiver)) == (90_000, 10_000)
    assert token.functions.authorizationState(payer.address, NONCE).call() is True
    (used,) = token.events.AuthorizationUsed().get_logs(from_block=receipt["blockNumber"])
    assert used["args"] == {"authorizer": payer.address, "nonce": NONCE}
    (moved,) = token.events.Transfer().get_logs(from_block=receipt["blockNumber"])
    assert moved["args"]["value"] == A_CENT
    again = web3.eth.wait_for_transaction_receipt(send(web3, call, sender))  # type: ignore[arg-type]
    assert again["status"] == 0
    assert evm.balance(receiver) == A_CENT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": TEN_CENTS + 1}, "transfer amount exceeds balance"),
        ({"validAfter": int(time.time()) + 3600}, "authorization is not yet valid"),
        ({"validBefore": int(time.time()) - 1}, "authorization is expired"),
    ],
)
def test_the_token_refuses_with_the_words_of_the_real_one(
    evm: LocalEvm, token: Contract, payer: LocalAccount, changes: dict[str, Any], reason: str
) -> None:
    from web3.exceptions import ContractLogicError

    authorization = Authorization(evm, payer, evm.new_key().address, **changes)

    with pytest.raises(ContractLogicError, match=reason):
        token.get_function_by_signature(IN_PARTS)(*authorization.in_parts()).call()


def test_what_was_not_signed_is_refused(evm: LocalEvm, token: Contract, payer: LocalAccount) -> None:
    from web3.exceptions import ContractLogicError

    authorization = Authorization(evm, payer, evm.new_key().address)
    tampered = authorization.in_parts(to=evm.new_key().address)

    with pytest.raises(ContractLogicError, match="invalid signature"):
        token.get_function_by_signature(IN_PARTS)(*tampered).call()


def test_nobody_but_the_chain_mints(token: Contract, payer: LocalAccount) -> None:
    from web3.exceptions import ContractLogicError

    with pytest.raises(ContractLogicError, match="caller is not a minter"):
        token.functions.mint(payer.address, 1).call({"from": payer.address})


def test_a_transaction_behind_a_nonce_gap_waits_until_the_gap_is_closed(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    from web3.exceptions import TransactionNotFound

    evm.fund_gas(payer.address)
    receiver = evm.new_key().address
    second = send(web3, token.functions.transfer(receiver, 2), payer, nonce=1)
    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction_receipt(second)  # type: ignore[arg-type]

    send(web3, token.functions.transfer(receiver, 1), payer, nonce=0)

    assert web3.eth.get_transaction_receipt(second)["status"] == 1  # type: ignore[arg-type]
    assert evm.balance(receiver) == 3


def test_a_used_nonce_is_too_low(evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount) -> None:
    from web3.exceptions import Web3RPCError

    evm.fund_gas(payer.address)
    send(web3, token.functions.transfer(evm.new_key().address, 1), payer, nonce=0)

    with pytest.raises(Web3RPCError, match="nonce too low"):
        send(web3, token.functions.transfer(evm.new_key().address, 1), payer, nonce=0)


def test_gas_must_be_paid(evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount) -> None:
    from web3.exceptions import Web3RPCError

    with pytest.raises(Web3RPCError, match="insufficient funds"):
        send(web3, token.functions.transfer(evm.new_key().address, 1), payer)


def test_fees_can_be_estimated(evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount) -> None:
    from web3.types import Nonce

    evm.fund_gas(payer.address)
    receiver = evm.new_key().address
    built: dict[str, Any] = {
        **token.functions.transfer(receiver, 1).build_transaction({"from": payer.address, "nonce": Nonce(0)})
    }

    sent = web3.eth.send_raw_transaction(payer.sign_transaction(built).raw_transaction)

    receipt = web3.eth.wait_for_transaction_receipt(sent)
    assert receipt["status"] == 1
    assert receipt["gasUsed"] <= built["gas"]
    assert built["maxFeePerGas"] >= built["maxPriorityFeePerGas"]


def test_a_refused_broadcast_changes_nothing(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    from web3.exceptions import Web3RPCError

    evm.fund_gas(payer.address)
    evm.faults.refuse_broadcasts = 1

    with pytest.raises(Web3RPCError, match="behind"):
        send(web3, token.functions.transfer(evm.new_key().address, 1), payer)

    assert evm.balance(payer.address) == TEN_CENTS
    assert web3.eth.get_transaction_count(payer.address) == 0


def test_a_reverted_transaction_has_a_receipt_and_moves_nothing(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    evm.fund_gas(payer.address)
    evm.faults.revert_transactions = 1

    sent = send(web3, token.functions.transfer(evm.new_key().address, 1), payer)

    assert web3.eth.get_transaction_receipt(sent)["status"] == 0  # type: ignore[arg-type]
    assert evm.balance(payer.address) == TEN_CENTS


def test_a_lost_answer_is_a_transaction_that_happened(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    from requests.exceptions import ConnectionError as Disconnected

    evm.fund_gas(payer.address)
    receiver = evm.new_key().address
    evm.faults.lose_answers = 1

    with pytest.raises(Disconnected):
        send(web3, token.functions.transfer(receiver, 1), payer)

    assert evm.balance(receiver) == 1


def test_a_dropped_transaction_never_comes(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    from web3.exceptions import TransactionNotFound

    evm.fund_gas(payer.address)
    evm.faults.drop_transactions = 1

    sent = send(web3, token.functions.transfer(evm.new_key().address, 1), payer)

    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction(sent)  # type: ignore[arg-type]


def test_held_transactions_come_when_they_are_released(
    evm: LocalEvm, web3: Web3, token: Contract, payer: LocalAccount
) -> None:
    evm.fund_gas(payer.address)
    receiver = evm.new_key().address
    evm.faults.hold_transactions = True
    send(web3, token.functions.transfer(receiver, 1), payer)
    send(web3, token.functions.transfer(receiver, 2), payer)
    assert evm.balance(receiver) == 0

    evm.release()

    assert evm.balance(receiver) == 3


def test_logs_are_asked_for_in_ranges_of_a_hundred_blocks(evm: LocalEvm, web3: Web3, token: Contract) -> None:
    from web3.exceptions import Web3RPCError

    evm.chain.mine_empty(150)

    with pytest.raises(Web3RPCError, match="limited to a 100 range"):
        token.events.Transfer().get_logs(from_block=0)
    assert token.events.Transfer().get_logs(from_block=100) == []


def test_a_chain_that_is_down_answers_503(evm: LocalEvm, web3: Web3) -> None:
    from requests.exceptions import HTTPError

    evm.faults.down = True

    with pytest.raises(HTTPError, match="503"):
        web3.eth.get_block_number()
