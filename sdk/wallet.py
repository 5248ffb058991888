"""A key that pays for jobs: on Monad a private key, on Solana a keypair."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from nacl.signing import SigningKey

from compute_router.protocol.chain_key_file import parse_chain_key, read_private_bytes
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_likeness import looks_like_key
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.sdk import settings
from compute_router.sdk.errors import InvalidArgumentError, WalletError

# Order of the group of secp256k1 (SEC 2, section 2.4.1): private keys are from 1 to one less.
_EVM_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_SEED_BYTES: Final = 32
_FORMS: Final = "it must be 64 hex characters (Monad), or a JSON list of 64 numbers (Solana)"


class Signer(Protocol):
    """The part of a wallet that needs the packages of payments."""

    address: str

    def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
        """The payload of a payment that meets an x402 requirement."""


class Wallet:
    """Signs payments on one chain. The key is never shown, and cannot be copied out by pickling.

    Make one with :meth:`from_file` or :meth:`from_environment`. ``rpc_url`` is the node of the chain, which
    Solana payments need; it may hold an API key, and is never shown. Threads may share a wallet.
    """

    def __init__(self, chain: Chain, key: bytes, rpc_url: str | None = None) -> None:
        """``key``: 32 bytes on Monad, on Solana 64, secret and public.

        Raises:
            WalletError: this is no key of the chain.
        """
        if not _is_key(chain, key):
            raise WalletError("This is no key of the chain: its bytes do not fit.")
        self.chain = chain
        self._key = key
        self._rpc_url = rpc_url or PAYMENT_NETWORKS[chain].default_rpc_url
        self._signer: Signer | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """The chain alone."""
        return f"Wallet({self.chain.value})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied, because that would write the key out."""
        raise TypeError("A wallet cannot be pickled or copied.")

    @classmethod
    def from_file(
        cls, path: Path | str, *, chain: Chain | str | None = None, rpc_url: str | None = None
    ) -> Wallet:
        """The wallet in a file that its owner alone may read.

        Monad: 64 hex characters; Solana: a JSON list of 64 numbers, as ``solana-keygen`` writes it. Without
        ``chain`` the form decides. ``rpc_url`` None takes ``COMPUTE_ROUTER_RPC_URL``, or the public node.

        Raises:
            WalletError: the file cannot be read, others may read it, or it holds no key. A key in place of a
                path is not repeated.
        """
        if looks_like_key(str(path)):
            raise WalletError(
                f"This is a key and not a file: put it in {settings.WALLET_KEY_VARIABLE}, or in a file that"
                " only you can read."
            )
        try:
            path = settings.expanded(path)
            content = read_private_bytes(path)
            known = Chain(chain) if chain is not None else _chain_of(content)
        except (ConfigurationError, InvalidArgumentError, ValueError) as error:
            raise WalletError(str(error)) from None
        key = parse_chain_key(content, known)
        if key is None:
            wanted = f" of {NETWORKS[known].label}" if chain is not None else ""
            raise WalletError(f"The wallet {path} holds no key{wanted}: {_FORMS}.")
        try:
            return cls(known, key, rpc_url or settings.rpc_url())
        except WalletError:
            raise WalletError(f"The wallet {path} holds no key of {NETWORKS[known].label}.") from None

    @classmethod
    def from_environment(cls, *, rpc_url: str | None = None) -> Wallet | None:
        """The wallet of ``COMPUTE_ROUTER_WALLET_KEY``, a key, or ``COMPUTE_ROUTER_WALLET``, a file; or None.

        Raises:
            WalletError: both are set, or what is set cannot be used.
        """
        path, text = settings.wallet_path(), settings.wallet_key()
        if path is not None and text is not None:
            raise WalletError(f"Set {settings.WALLET_VARIABLE} or {settings.WALLET_KEY_VARIABLE}, not both.")
        if path is not None:
            return cls.from_file(path, rpc_url=rpc_url)
        if text is None:
            return None
        content = text.encode("utf-8", "replace")
        chain = _chain_of(content)
        key = parse_chain_key(content.strip(), chain)
        if key is None or not _is_key(chain, key):
            # Without the text: it may be a key with a slip of the pen.
            raise WalletError(f"{settings.WALLET_KEY_VARIABLE} holds no key: {_FORMS}.")
        return cls(chain, key, rpc_url or settings.rpc_url())

    @property
    def network(self) -> str:
        """The CAIP-2 id of the wallet's chain."""
        return NETWORKS[self.chain].caip2

    @property
    def rpc_url(self) -> str:
        """The node of the chain. Show it to nobody: it may hold an API key."""
        return self._rpc_url

    @property
    def address(self) -> str:
        """Where the money is.

        Raises:
            WalletError: the packages of payments are missing.
        """
        return self._opened().address

    def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
        """The payload of a payment that meets an x402 requirement. Takes milliseconds, or a node's answers.

        It signs whatever it is given: look at the requirement first, as the client does.

        Raises:
            WalletError: the packages of payments are missing, or the chain's node cannot be asked.
        """
        return self._opened().sign(requirement)

    def _opened(self) -> Signer:
        with self._lock:
            if self._signer is None:
                # Imported late, because what it imports takes most of a second.
                from compute_router.sdk.wallet_signing import open_signer

                self._signer = open_signer(self.chain, self._key, self._rpc_url)
            return self._signer


def open_wallet(given: Wallet | Path | str | None) -> Wallet | None:
    """The wallet that was given or is named by the environment. An empty text means none.

    Raises:
        WalletError: it cannot be used.
    """
    if isinstance(given, Wallet):
        return given
    if given is None:
        return Wallet.from_environment()
    return Wallet.from_file(given) if str(given) else None


def _chain_of(content: bytes) -> Chain:
    return Chain.SOLANA if content.lstrip().startswith(b"[") else Chain.MONAD


def _is_key(chain: Chain, key: bytes) -> bool:
    if chain is Chain.MONAD:
        return len(key) == _SEED_BYTES and 0 < int.from_bytes(key, "big") < _EVM_ORDER
    if len(key) != 2 * _SEED_BYTES:
        return False
    # With the public half of another key, signatures would be good for nothing.
    return bytes(SigningKey(key[:_SEED_BYTES]).verify_key) == key[_SEED_BYTES:]


def new_evm_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """A private key made of random bytes."""
    while not _is_key(Chain.MONAD, key := random_bytes(_SEED_BYTES)):
        pass
    return key
