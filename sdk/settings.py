"""Where the coordinator is and for whom jobs run: arguments first, then the environment, then defaults.

This is the only place of the SDK that reads the environment.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import msgspec

from compute_router.protocol.api_keys import key_id_of
from compute_router.protocol.jobs import UserId
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.sdk.errors import InvalidArgumentError

URL_VARIABLE: Final = "COMPUTE_ROUTER_URL"
USER_ID_VARIABLE: Final = "COMPUTE_ROUTER_USER_ID"
TRUST_FILE_VARIABLE: Final = "COMPUTE_ROUTER_TRUST_FILE"
API_KEY_VARIABLE: Final = "COMPUTE_ROUTER_API_KEY"
WALLET_VARIABLE: Final = "COMPUTE_ROUTER_WALLET"
WALLET_KEY_VARIABLE: Final = "COMPUTE_ROUTER_WALLET_KEY"
RPC_URL_VARIABLE: Final = "COMPUTE_ROUTER_RPC_URL"
PURSE_NAME: Final = "purse.json"
"""File beside the trust file, for credits and payments that were sent."""
_VARIABLE_PREFIX: Final = "COMPUTE_ROUTER_"
ANONYMOUS: Final = "anonymous"
"""User of PUBLIC jobs when nobody is named. It never stands for anybody in PRIVATE jobs and pairings."""


class Settings(msgspec.Struct, frozen=True):
    """Resolved settings of a client.

    ``expected_network`` is the CAIP-2 id that the coordinator must have, or None when no chain was named;
    ``user_id`` is None when no user was named, ``api_key`` when there is none to send.
    """

    base_url: str
    expected_network: str | None
    user_id: str | None
    api_key: str | None = None

    def __repr__(self) -> str:
        """Everything but the key."""
        return f"Settings({self.base_url!r}, {self.expected_network!r}, {self.user_id!r})"


def resolve_settings(
    base_url: str | None,
    chain: Chain | str | None,
    user_id: str | None,
    environ: Mapping[str, str] | None = None,
    *,
    api_key: str | None = None,
) -> Settings:
    """Combine arguments with the environment (``os.environ`` unless given). Empty variables count as unset.

    A URL from either place wins over the chain's default address; a chain that was named is then still
    checked against what the coordinator says.

    Raises:
        InvalidArgumentError: no such chain, not an http(s) URL, not a usable user id, or not an API key.
    """
    environ = os.environ if environ is None else environ
    named = _chain(chain)
    url = base_url or environ.get(URL_VARIABLE) or _default_url(named or Chain.SOLANA)
    return Settings(
        base_url=checked_url(url),
        expected_network=NETWORKS[named].caip2 if named else None,
        user_id=_checked_user(user_id if user_id is not None else environ.get(USER_ID_VARIABLE) or None),
        api_key=_checked_api_key(api_key if api_key is not None else environ.get(API_KEY_VARIABLE) or None),
    )


def trust_file_path(given: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Where tokens and pinned keys are kept: as given, by the environment, or in the user's configuration.

    Raises:
        InvalidArgumentError: as :func:`expanded`.
    """
    environ = os.environ if environ is None else environ
    named = given or environ.get(TRUST_FILE_VARIABLE) or "~/.config/compute-router/trust.json"
    return expanded(named)


def wallet_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """The file of the wallet that the environment names, if it does."""
    named = (os.environ if environ is None else environ).get(WALLET_VARIABLE)
    return expanded(named) if named else None


def expanded(path: Path | str) -> Path:
    """A path without a ``~`` at its beginning.

    Raises:
        InvalidArgumentError: nobody knows whose home, or where it is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidArgumentError(f"{path} names no file: there is no such home directory.") from None


def wallet_key(environ: Mapping[str, str] | None = None) -> str | None:
    """The key of the wallet that the environment holds, if it does."""
    return (os.environ if environ is None else environ).get(WALLET_KEY_VARIABLE) or None


def rpc_url(environ: Mapping[str, str] | None = None) -> str | None:
    """The node of the chain that the environment names, if it does. It may hold an API key."""
    return (os.environ if environ is None else environ).get(RPC_URL_VARIABLE) or None


def checked_url(url: str) -> str:
    """The URL without a trailing slash.

    Raises:
        InvalidArgumentError: it is not an absolute http or https URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidArgumentError(f"{url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidArgumentError(f"{url!r} is not a base URL such as http://127.0.0.1:4020.")
    return url.rstrip("/")


def private_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without this project's variables, for processes that must not take up those settings.

    Their output is unbuffered, so that their lines can be read as they come.
    """
    environ = os.environ if environ is None else environ
    others = {name: value for name, value in environ.items() if not name.startswith(_VARIABLE_PREFIX)}
    return others | {"PYTHONUNBUFFERED": "1"}


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine, so that no proxy could reach it."""
    host = httpx.URL(url).host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _chain(chain: Chain | str | None) -> Chain | None:
    if chain is None:
        return None
    try:
        return Chain(chain)
    except ValueError:
        known = ", ".join(each.value for each in Chain)
        raise InvalidArgumentError(f"There is no chain {chain!r}; known are {known}.") from None


def _default_url(chain: Chain) -> str:
    return f"http://127.0.0.1:{NETWORKS[chain].default_port}"


def _checked_api_key(api_key: str | None) -> str | None:
    if not api_key:
        return None
    if key_id_of(api_key) is None:
        # Without the text: it may be a key with a slip of the pen.
        raise InvalidArgumentError("This is not an API key. A key begins with crk_ and has 60 characters.")
    return api_key


def _checked_user(user_id: str | None) -> str | None:
    if user_id is None:
        return None
    try:
        return msgspec.convert(user_id, UserId)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"This user id cannot be used: {error}") from None
