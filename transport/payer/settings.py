"""Settings of a run of payouts: flags, then environment, then defaults. The only place that reads them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.api_keys import key_id_of
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.payout_api import MOST_PAYOUTS
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.protocol.web_url import is_web_url
from compute_router.transport import flag_values as read
from compute_router.transport.flags import Flags, ProgramParser, variable_of
from compute_router.transport.node_url import chosen_node, url_in

PREFIX: Final = "COMPUTE_ROUTER_PAYOUT_"
_LONGEST_FILE: Final = 4096
_LONGEST_WAIT_SECONDS: Final = 3600
_ACCESS_FOR_OTHERS: Final = 0o077


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen. ``key`` None: only a plan is wanted."""

    chain: Chain
    url: str
    api_key: str
    rpc_url: str
    key: Path | None
    threshold: MicroUsd
    limit: int
    wait: DurationMs

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Settings({self.chain.value!r}, {self.url!r})"


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags, then environment, then defaults. A bad one ends the process with exit code 2.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    parser = _parser(environ)
    given = parser.parse_args(argv)
    for flag in ("--chain", "--api-key-file"):
        if getattr(given, flag.lstrip("-").replace("-", "_")) is None:
            parser.error(f"{flag} is needed, or the variable {variable_of(flag, PREFIX)}")
    if given.execute and given.key is None:
        parser.error("--execute needs --key, the file with the key that pays")
    chain = given.chain
    try:
        node = chosen_node(given, argv, PAYMENT_NETWORKS[chain].default_rpc_url)
    except ConfigurationError as error:
        parser.error(str(error))
    try:
        rpc_url = url_in(node)
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"The file {node} cannot be read.") from None
    url = f"http://127.0.0.1:{NETWORKS[chain].default_port}" if given.url is None else given.url
    for name, address in (("--url", url), ("--rpc-url", rpc_url)):
        # Not shown: a node's URL may hold an API key.
        if not is_web_url(address):
            parser.error(f"{name} must be a URL such as https://host or http://host:8000/path")
    return Settings(
        chain=chain,
        url=url.rstrip("/"),
        api_key=_api_key(given.api_key_file),
        rpc_url=rpc_url,
        key=given.key if given.execute else None,
        threshold=given.threshold,
        limit=given.limit,
        wait=given.wait_seconds,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = ProgramParser(
        "compute-router payout",
        "Pay workers what they earned, one transfer each. The coordinator must be running: it keeps the "
        "book, and an admin key opens it. It can be ended and started again at any time; nobody is paid "
        "twice. Exit code 1: something is still open, or was refused; see above.",
    )
    # What moves money is said by whoever starts the program, never by its environment.
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dry-run", action="store_true", help="Show who would be paid, and change nothing.")
    what.add_argument("--execute", action="store_true", help="Pay.")
    option = Flags(parser, environ, prefix=PREFIX).option
    option("--chain", read.choice(Chain), None, "Chain to pay on: solana or monad. Required.")
    option("--url", str, None, "Address of the coordinator. Default: this machine, the chain's usual port.")
    option("--api-key-file", read.key_file, None, "File of mode 600 with an admin key. Required.")
    option("--rpc-url", str, None, "The chain's JSON-RPC node. Default: the network's public one.")
    url_file = "File with the node's URL, for one with an API key in it: command lines are no secret."
    option("--rpc-url-file", read.url_file, None, url_file)
    key = "File of mode 600 with the key that pays, and the fees too. --execute needs it."
    option("--key", read.key_file, None, key)
    option("--threshold", read.price, "1.00", "Pay only workers that are owed at least so many dollars.")
    most = "Pay so many workers at the most, those owed most first."
    option("--limit", read.whole("workers", MOST_PAYOUTS), str(MOST_PAYOUTS), most)
    wait = "How long to wait for the chain; what is open then is for the next run."
    option("--wait-seconds", _wait, "90", wait)
    return parser


_wait = partial(read.duration, unit="seconds", unit_ms=1000, most=_LONGEST_WAIT_SECONDS, zero=True)


def _api_key(path: Path) -> str:
    try:
        with path.open("rb") as file:
            api_key = file.read(_LONGEST_FILE).decode("utf-8").strip()
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"The file {path} cannot be read.") from None
    if os.name == "posix" and mode & _ACCESS_FOR_OTHERS:
        raise ConfigurationError(f"The file {path} is open to other users. Run: chmod 600 {path}")
    if key_id_of(api_key) is None:
        raise ConfigurationError(f"The file {path} holds no API key: one line that begins with crk_.")
    return api_key
