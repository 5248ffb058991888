"""A facilitator's settings: flags, then environment, then defaults. The only place that reads them."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.protocol.web_url import is_web_url
from compute_router.transport import flag_values as read
from compute_router.transport.facilitator.parent import Whispered, hear
from compute_router.transport.flags import Flags, ProgramParser, variable_of
from compute_router.transport.node_url import chosen_node, url_in

PREFIX: Final = "COMPUTE_ROUTER_FACILITATOR_"
_PAY_TO: Final = variable_of("--pay-to", PREFIX)
DEFAULT_PORTS: Final = {Chain.MONAD: 4011, Chain.SOLANA: 4021}
_LONGEST_WAIT_SECONDS: Final = 600


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen. Secret are ``rpc_url``, which may hold an API key, and ``secret``."""

    chain: Chain
    rpc_url: str
    key: Path
    host: str
    port: int
    db: Path
    log_level: str
    confirm: DurationMs
    pay_to: tuple[str, ...]
    least: MicroUsd
    secret: str | None
    """What comes with each question of the coordinator that started it; None: it was started alone."""


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags, then environment, then defaults. A bad one ends the process with exit code 2."""
    # What a coordinator says to its own facilitator is all that counts; its environment is the operator's.
    if "--supervised" in argv:
        environ = {}
    parser = _parser(environ)
    given = parser.parse_args(argv)
    for flag in ("chain", "key"):
        if getattr(given, flag) is None:
            parser.error(f"--{flag} is needed, or the variable {variable_of(flag, PREFIX)}")
    chain = given.chain
    try:
        addresses = given.pay_to or _by_commas(environ.get(_PAY_TO, ""))
        pay_to = tuple(checked_address(chain, each) for each in addresses)
    except AddressError as error:
        parser.error(f"--pay-to: {error}")
    if given.open and pay_to:
        parser.error("--open settles payments to anybody, --pay-to only those to some")
    whispered: Whispered | None = None
    if given.supervised:
        try:
            whispered = hear()
        except ConfigurationError as error:
            parser.error(str(error))
    elif not (pay_to or given.open or reached_from_here_only(given.host)):
        parser.error(
            f"whoever reaches {given.host} could spend the key's gas: say whose payments are settled with "
            "--pay-to ADDRESS, or --open for everybody's"
        )
    try:
        default = PAYMENT_NETWORKS[chain].default_rpc_url
        rpc_url = whispered.rpc_url if whispered else url_in(chosen_node(given, argv, default))
    except (OSError, UnicodeDecodeError):
        parser.error("the file of the node's URL cannot be read")
    except ConfigurationError as error:
        parser.error(str(error))
    if not is_web_url(rpc_url):
        parser.error("the node's URL is not one such as https://host or http://host:8000/path")
    return Settings(
        chain=chain,
        rpc_url=rpc_url,
        key=given.key,
        host=given.host,
        port=DEFAULT_PORTS[chain] if given.port is None else given.port,
        db=given.key.with_name(given.key.name + ".book") if given.db is None else given.db,
        log_level=given.log_level,
        confirm=given.confirm_seconds,
        pay_to=pay_to,
        least=MicroUsd(0) if whispered else given.min_amount,
        secret=whispered.secret if whispered else None,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = ProgramParser(
        "compute-router facilitator",
        "Verify x402 payments and settle them on one chain. The key pays the chain's fees.",
    )
    flags = Flags(parser, environ, prefix=PREFIX)
    option = flags.option
    option("--chain", read.choice(Chain), None, "Chain to settle on: solana or monad. Required.")
    key = (
        "File with the key that pays the fees, for its owner alone: hex of an EVM key, "
        "or a Solana keypair as a JSON list. Required."
    )
    option("--key", read.key_file, None, key)
    option("--rpc-url", str, None, "The chain's JSON-RPC node. Default: the network's public one.")
    url_file = "File with the node's URL, for one with an API key in it: command lines are no secret."
    option("--rpc-url-file", read.url_file, None, url_file)
    parser.add_argument(
        "--pay-to",
        action="append",
        metavar="ADDRESS",
        help=f"Settle payments to this address only; may be given several times. [{_PAY_TO}, by commas]",
    )
    flags.switch(
        "--open", "Settle payments to anybody, for everybody who reaches --host, with the key's gas."
    )
    option("--min-amount", read.dollars, "0.001", "Settle no smaller payments, in dollars.")
    option("--host", str, "127.0.0.1", "Address to listen on.")
    option("--port", read.port, None, "Default: 4011 monad, 4021 solana; 0 for any free one.")
    option("--db", Path, None, "File of past settlements. Default: the key's, ending in .book.")
    option("--confirm-seconds", _confirmation, "30", "How long a settlement waits for its block.")
    option("--log-level", read.log_level, "info", "debug, info, warning or error.")
    parser.add_argument(
        "--supervised",
        action="store_true",
        # The coordinator's word, and nobody else's: the node's URL and a secret come on standard input.
        help=argparse.SUPPRESS,
    )
    return parser


def _by_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_confirmation = partial(read.duration, unit="seconds", unit_ms=1000, most=_LONGEST_WAIT_SECONDS)


def reached_from_here_only(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
