"""What a user's machine remembers of pairings: the token that owns a user id, and the worker keys to seal to.

One JSON file, readable by its owner alone::

    {"version": 1, "networks": {"solana:...": {"alice": {
        "tokens": {"https://coordinator.example": "crt_..."}, "pinned": ["<64 hex>", ...]}}}}

A token is for the coordinator at one address and is never sent to another: whoever runs another coordinator
of the same network could act for the user with it. Keys are the same everywhere.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Literal, TypeVar

import httpx
import msgspec

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.pairing import new_user_token
from compute_router.protocol.receipts import PublicKeyHex
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.private_writing import write_privately
from compute_router.sdk.settings import trust_file_path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")

NO_ADDRESS: Final = "an address that was not noted"
_LONGEST_FILE: Final = 4 * 1024 * 1024
_ACCESS_FOR_OTHERS: Final = 0o077


def open_trust_file(given: TrustFile | Path | str | None = None) -> TrustFile:
    """The trust file that was given, or the one at the usual place."""
    return given if isinstance(given, TrustFile) else TrustFile(trust_file_path(given))


class TrustFileError(ConfigurationError):
    """The trust file cannot be used; the sentence says what to do about it."""

    code: ClassVar[str] = "trust_file"


class _User(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    # As it was kept before addresses were noted. It is never sent, and kept for its owner.
    token: str | None = None
    tokens: dict[str, str] = {}
    pinned: list[PublicKeyHex] = []


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    networks: dict[str, dict[str, _User]] = {}

    def user(self, network: str, user_id: str) -> _User:
        """What is known of a user, for reading."""
        return self.networks.get(network, {}).get(user_id) or _User()

    def user_to_change(self, network: str, user_id: str) -> _User:
        """What is known of a user, in its place."""
        return self.networks.setdefault(network, {}).setdefault(user_id, _User())


_CONTENTS: Final = msgspec.json.Decoder(_Content)


class TrustFile:
    """Tokens and pinned keys, by network (CAIP-2 id) and user, tokens also by the coordinator's address.

    Any number of programs may share one file.

    The file is read at every call, so that a change by another program is seen; it is written whole under a
    lock and moved into place. Nothing is made before there is something to keep.

    Every call raises TrustFileError: the file cannot be read or written, others may read it or it belongs to
    another user of the machine, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        """The path alone."""
        return f"TrustFile({str(self.path)!r})"

    def pinned(self, network: str, user_id: str) -> tuple[str, ...]:
        """The worker keys that jobs of a user may be sealed to, in the order of pinning."""
        return tuple(self._read().user(network, user_id).pinned)

    def pin(self, network: str, user_id: str, pubkey: str) -> None:
        """Pin a worker key; again is harmless.

        Raises:
            InvalidArgumentError: this is no key.
        """
        key = checked_pubkey(pubkey)

        def add(content: _Content) -> None:
            user = content.user_to_change(network, user_id)
            if key not in user.pinned:
                user.pinned.append(key)

        self._change(add)

    def unpin(self, network: str, user_id: str, pubkey: str) -> bool:
        """Pin a key no more; False if it was not pinned."""
        if pubkey not in self.pinned(network, user_id):
            return False

        def remove(content: _Content) -> bool:
            user = content.user_to_change(network, user_id)
            before = len(user.pinned)
            user.pinned = [key for key in user.pinned if key != pubkey]
            return len(user.pinned) < before

        return self._change(remove)

    def token(self, network: str, user_id: str, address: str) -> str | None:
        """The token that owns a user id at the coordinator of this address, if it is in this file."""
        return self._read().user(network, user_id).tokens.get(token_address(address))

    def token_addresses(self, network: str, user_id: str) -> tuple[str, ...]:
        """The addresses that there are tokens for; one that was not noted is described."""
        user = self._read().user(network, user_id)
        return (*user.tokens, *(() if user.token is None else (NO_ADDRESS,)))

    def token_or_new(self, network: str, user_id: str, address: str) -> tuple[str, bool]:
        """The token, and whether it was made by this call; a new one is kept before anybody hears of it."""
        known = self.token(network, user_id, address)
        if known is not None:
            return known, False

        def make(content: _Content) -> tuple[str, bool]:
            tokens = content.user_to_change(network, user_id).tokens
            token = tokens.get(token_address(address))
            if token is not None:
                return token, False
            token = tokens[token_address(address)] = new_user_token()
            return token, True

        return self._change(make)

    def keep_token(self, network: str, user_id: str, address: str, token: str) -> None:
        """Keep a token that the coordinator made; it takes the place of any other for its address."""

        def keep(content: _Content) -> None:
            content.user_to_change(network, user_id).tokens[token_address(address)] = token

        self._change(keep)

    def drop_token(self, network: str, user_id: str, address: str, token: str) -> None:
        """Forget a token that turned out to own nothing, unless another took its place."""

        def drop(content: _Content) -> None:
            tokens = content.user_to_change(network, user_id).tokens
            if tokens.get(token_address(address)) == token:
                del tokens[token_address(address)]

        self._change(drop)

    def _read(self) -> _Content:
        try:
            # Without O_NONBLOCK a pipe of that name would hang the program.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(descriptor, "rb") as file:
                self._check(os.fstat(file.fileno()))
                text = file.read(_LONGEST_FILE + 1)
        except FileNotFoundError:
            return _Content(1)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            if len(text) > _LONGEST_FILE:
                raise ValueError("it is too long")
            return _CONTENTS.decode(text)
        except (ValueError, RecursionError):
            # The decoder's own sentence could quote a part of the file.
            raise TrustFileError(
                f"The trust file {self.path} is damaged, or a newer version wrote it. Restore it from a "
                "backup; if there is none, move it away, pair with a new user id, and pin your workers again."
            ) from None

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise TrustFileError(f"{self.path} is not a file.")
        if os.name != "posix":
            return
        if status.st_uid != os.geteuid():
            raise TrustFileError(f"The trust file {self.path} belongs to another user of this machine.")
        if status.st_mode & _ACCESS_FOR_OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise TrustFileError(
                f"The trust file {self.path} is open to other users (mode {mode:04o}). "
                f"Run: chmod 600 {self.path}"
            )

    def _change(self, change: Callable[[_Content], T]) -> T:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path.with_name(f"{self.path.name}.lock")):
                content = self._read()
                result = change(content)
                # A link stays a link, to the new content.
                write_privately(
                    self.path.resolve(), msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
                )
        except OSError as error:
            raise self._unusable(error) from None
        return result

    def _unusable(self, error: OSError) -> TrustFileError:
        return TrustFileError(
            f"The trust file {self.path} cannot be used: {error.strerror or error}. "
            "Name another with --trust-file or COMPUTE_ROUTER_TRUST_FILE."
        )


def token_address(url: str) -> str:
    """A coordinator's base URL in the one form that tokens are kept under, without a password in it."""
    # Read twice: the first reading leaves the usual port there when the scheme has capitals.
    parsed = httpx.URL(str(httpx.URL(url)))
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}{parsed.path}".rstrip("/")


def checked_pubkey(pubkey: str) -> str:
    """The key as the network writes it: 64 lowercase hex digits.

    Raises:
        InvalidArgumentError: this is no key.
    """
    try:
        return msgspec.convert(pubkey.strip().lower(), PublicKeyHex)
    except msgspec.ValidationError:
        raise InvalidArgumentError("A worker's public key is 64 hex digits.") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; others wait for it, and it ends with the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
