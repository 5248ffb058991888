"""Signing with the x402 library. To be imported late: its imports take most of a second."""

from __future__ import annotations

from typing import Any, Final

import httpx

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_packages import payment_packages
from compute_router.protocol.recursion_limit import kept_recursion_limit
from compute_router.sdk.chain_node import ChainNode, why_not_asked
from compute_router.sdk.errors import WalletError
from compute_router.sdk.wallet import Signer

_NODE_TIMEOUT_S: Final = 10.0


def open_signer(chain: Chain, key: bytes, rpc_url: str) -> Signer:
    """A signer for the key of a chain.

    Raises:
        WalletError: the packages of payments are missing.
    """
    try:
        with payment_packages():
            return _EvmSigner(key) if chain is Chain.MONAD else _SolanaSigner(key, rpc_url)
    except ConfigurationError as error:
        raise WalletError(str(error)) from None
    except httpx.InvalidURL:
        raise WalletError("The node of the chain has no usable URL: see --rpc-url.") from None
    except Exception as error:
        # What libraries say of a key may quote it.
        raise WalletError(f"The wallet's key cannot be used ({type(error).__name__}).") from None


class _EvmSigner:
    def __init__(self, key: bytes) -> None:
        # The program that has a wallet reads JSON of its own.
        with kept_recursion_limit():
            from eth_account import Account
            from x402.mechanisms.evm import EthAccountSigner
            from x402.mechanisms.evm.exact import ExactEvmClientScheme

        account = Account.from_key(key)
        self.address: str = account.address
        self._scheme = ExactEvmClientScheme(EthAccountSigner(account))

    def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
        return _signed(self._scheme, requirement, Chain.MONAD)


class _SolanaSigner:
    def __init__(self, key: bytes, rpc_url: str) -> None:
        from x402.mechanisms.svm import KeypairSigner
        from x402.mechanisms.svm.exact import ExactSvmClientScheme

        signer = KeypairSigner.from_bytes(key)
        self.address: str = signer.address
        node = _SolanaNode(rpc_url)

        class Scheme(ExactSvmClientScheme):  # type: ignore[misc, unused-ignore]
            # Else it makes a client that its own package calls deprecated, and warns of in every program.
            def _get_client(self, network: str) -> _SolanaNode:  # type: ignore[override, unused-ignore]
                return node

        self._scheme = Scheme(signer, rpc_url)

    def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
        return _signed(self._scheme, requirement, Chain.SOLANA)


class _SolanaNode:
    """The two questions that the scheme has, under the names that it calls them by."""

    def __init__(self, rpc_url: str) -> None:
        self._node = ChainNode(rpc_url, _NODE_TIMEOUT_S)

    def get_account_info(self, address: Any) -> Any:
        """The account of a token."""
        from solders.rpc.responses import GetAccountInfoResp

        options = {"encoding": "base64", "commitment": "confirmed"}
        return GetAccountInfoResp.from_json(self._text("getAccountInfo", str(address), options))

    def get_latest_blockhash(self) -> Any:
        """What a transaction's life begins with."""
        from solders.rpc.responses import GetLatestBlockhashResp

        return GetLatestBlockhashResp.from_json(self._text("getLatestBlockhash", {"commitment": "confirmed"}))

    def _text(self, method: str, *params: Any) -> str:
        return self._node.ask(method, *params).decode("utf-8")


def _why(error: Exception, chain: Chain) -> str:
    if chain is not Chain.SOLANA:
        return ""
    label = NETWORKS[chain].label
    what = f"does not answer like one of {label}"
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
        what = why_not_asked(error)
    return (
        f": its node {what}. On {label} that takes a node of the chain; name another with"
        " COMPUTE_ROUTER_RPC_URL or --rpc-url"
    )


def _signed(scheme: Any, requirement: dict[str, Any], chain: Chain) -> dict[str, Any]:
    from x402.schemas import PaymentRequirements

    try:
        payload = scheme.create_payment_payload(PaymentRequirements.model_validate(requirement))
    # The library and what is below it have errors of all kinds; their texts may hold the node's URL.
    except Exception as error:
        raise WalletError(f"The payment could not be signed{_why(error, chain)}.") from None
    return dict(payload)
