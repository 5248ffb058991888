"""What a wallet has on its chain, asked of a node by JSON-RPC."""

from __future__ import annotations

from typing import Any, Final

import httpx
import msgspec

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import WalletError
from compute_router.sdk.wallet import Wallet

# The first four bytes of the Keccak hash of balanceOf(address), as the Solidity ABI has it.
_BALANCE_OF: Final = "0x70a08231"
_LONGEST_ANSWER: Final = 1024 * 1024


class _Answer(msgspec.Struct, frozen=True):
    result: Any = None


def balance_of(wallet: Wallet, timeout_s: float, transport: httpx.BaseTransport | None = None) -> MicroUsd:
    """The USDC of a wallet.

    Raises:
        WalletError: the node cannot be asked, serves another chain, or answers nonsense. Its URL is not said.
    """
    asset = PAYMENT_NETWORKS[wallet.chain].asset
    address = wallet.address
    try:
        with httpx.Client(transport=transport, timeout=timeout_s) as client:
            if wallet.chain is Chain.MONAD:
                return _evm(client, wallet, asset, address)
            options = {"encoding": "jsonParsed", "commitment": "confirmed"}
            found = _ask(client, wallet, "getTokenAccountsByOwner", address, {"mint": asset}, options)
            amounts = [
                int(each["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"])
                for each in found["value"]
            ]
            return MicroUsd(sum(amounts))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(wallet, f"cannot be asked ({type(error).__name__})") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _failed(wallet, "answered with what is no balance") from None


def _evm(client: httpx.Client, wallet: Wallet, asset: str, address: str) -> MicroUsd:
    chain_id = NETWORKS[Chain.MONAD].caip2.partition(":")[2]
    if int(_ask(client, wallet, "eth_chainId"), 16) != int(chain_id):
        raise _failed(wallet, "serves another chain")
    data = _BALANCE_OF + address[2:].lower().rjust(64, "0")
    return MicroUsd(int(_ask(client, wallet, "eth_call", {"to": asset, "data": data}, "latest"), 16))


def _ask(client: httpx.Client, wallet: Wallet, method: str, *params: Any) -> Any:
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = client.post(wallet.rpc_url, json=question).content
    if len(answer) > _LONGEST_ANSWER:
        raise ValueError("too long")
    return msgspec.json.decode(answer, type=_Answer).result


def _failed(wallet: Wallet, what: str) -> WalletError:
    return WalletError(
        f"The node of {NETWORKS[wallet.chain].label} {what}. Name another with --rpc-url or"
        " COMPUTE_ROUTER_RPC_URL."
    )
