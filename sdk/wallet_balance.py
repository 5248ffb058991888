"""What a wallet has on its chain, asked of a node by JSON-RPC."""

from __future__ import annotations

from typing import Any, Final

import httpx
import msgspec

from compute_router.protocol.evm_words import evm_word
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.chain_node import ChainNode, why_not_asked
from compute_router.sdk.errors import WalletError
from compute_router.sdk.wallet import Wallet

# The first four bytes of the Keccak hash of balanceOf(address), as the Solidity ABI has it.
_BALANCE_OF: Final = "0x70a08231"


class _Answer(msgspec.Struct, frozen=True):
    result: Any = None


def balance_of(wallet: Wallet, timeout_s: float, transport: httpx.BaseTransport | None = None) -> MicroUsd:
    """The USDC of a wallet.

    Raises:
        WalletError: the node cannot be asked, serves another chain, or answers nonsense. Its URL is not said.
        InvalidArgumentError: the environment names a proxy or certificates that cannot be used.
    """
    asset = PAYMENT_NETWORKS[wallet.chain].asset
    address = wallet.address
    try:
        node = ChainNode(wallet.rpc_url, timeout_s, transport)
        return (_evm if wallet.chain is Chain.MONAD else _solana)(node, wallet, asset, address)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(wallet, why_not_asked(error)) from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _failed(wallet, "answered with what is no balance") from None


def _evm(node: ChainNode, wallet: Wallet, asset: str, address: str) -> MicroUsd:
    chain_id = NETWORKS[Chain.MONAD].caip2.partition(":")[2]
    if int(_ask(node, "eth_chainId"), 16) != int(chain_id):
        raise _failed(wallet, "serves another chain")
    data = _BALANCE_OF + evm_word(address)
    return MicroUsd(int(_ask(node, "eth_call", {"to": asset, "data": data}, "latest"), 16))


def _solana(node: ChainNode, wallet: Wallet, asset: str, address: str) -> MicroUsd:
    options = {"encoding": "jsonParsed", "commitment": "confirmed"}
    found = _ask(node, "getTokenAccountsByOwner", address, {"mint": asset}, options)
    amounts = [each["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] for each in found["value"]]
    return MicroUsd(sum(int(amount) for amount in amounts))


def _ask(node: ChainNode, method: str, *params: Any) -> Any:
    return msgspec.json.decode(node.ask(method, *params), type=_Answer).result


def _failed(wallet: Wallet, what: str) -> WalletError:
    return WalletError(
        f"The wallet's node {what}. It must be one of {NETWORKS[wallet.chain].label}: name another with"
        " --rpc-url or COMPUTE_ROUTER_RPC_URL."
    )
