"""Making the file of a wallet."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.networks import Chain
from compute_router.sdk.errors import WalletError
from compute_router.sdk.wallet import Wallet, new_evm_key


def create_wallet(path: Path, chain: Chain) -> Wallet:
    """Make a new key in a file that its owner alone may read. Nothing is ever written over.

    Raises:
        WalletError: something of that name exists, it cannot be written, or packages are missing.
    """
    key = new_evm_key(secrets.token_bytes) if chain is Chain.MONAD else _keypair()
    wallet = Wallet(chain, key)
    _ = wallet.address  # before anything is written: it fails where payments are not installed
    content = key.hex().encode("ascii") if chain is Chain.MONAD else msgspec.json.encode(list(key))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # Money may be sent to the address at once, so the file's name has to be there after a power cut.
            _flush_names(path.parent)
        except BaseException:
            path.unlink()
            raise
    except FileExistsError:
        raise WalletError(f"{path} exists, and may hold money. Name another file with --wallet.") from None
    except OSError as error:
        raise WalletError(f"The wallet {path} cannot be written: {error.strerror or error}.") from None
    return wallet


def _flush_names(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keypair() -> bytes:
    key = SigningKey.generate()
    return bytes(key) + bytes(key.verify_key)
