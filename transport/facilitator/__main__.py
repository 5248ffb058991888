"""Start one facilitator: ``python -m compute_router.transport.facilitator --chain monad --key PATH``."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, DatabaseInUseError
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd
from compute_router.protocol.web_url import is_web_url
from compute_router.storage.settlement_book import SettlementBook
from compute_router.transport.facilitator.admission import CHEAPEST_JOB, Admission
from compute_router.transport.facilitator.parent import Whispered, end_with_parent, hear

logger = logging.getLogger("compute_router.facilitator")

DEFAULT_PORTS: Final = {Chain.MONAD: 4011, Chain.SOLANA: 4021}
_LONGEST_URL: Final = 4096
_BOOK_PAUSE_SECONDS: Final = 0.1
_BOOK_PATIENCE_SECONDS: Final = 30.0
"""How long a facilitator of a coordinator waits for the book: the one before it may still be ending."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen. Secret are ``rpc_url``, which may hold an API key, and ``secret``."""

    chain: Chain
    rpc_url: str
    key: Path
    host: str
    port: int
    db: Path
    log_level: str
    confirm_seconds: float
    pay_to: tuple[str, ...]
    least: MicroUsd
    secret: str | None
    """What comes with each question of the coordinator that started it; None: it was started alone."""


def read_settings(argv: Sequence[str]) -> Settings:
    """Settings from flags, then defaults. A bad one ends the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="compute-router facilitator",
        description="Verify x402 payments and settle them on one chain. The key pays the chain's fees.",
    )
    parser.add_argument("--chain", choices=[chain.value for chain in Chain], required=True)
    node = parser.add_mutually_exclusive_group()
    node.add_argument("--rpc-url", help="The chain's JSON-RPC node. Default: the public one.")
    node.add_argument(
        "--rpc-url-file",
        type=Path,
        help="File with the node's URL, for one with an API key in it: command lines are no secret.",
    )
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        help="File with the key that pays the fees, for its owner alone: hex of an EVM key, or a Solana "
        "keypair as a JSON list.",
    )
    parser.add_argument(
        "--pay-to",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="Settle payments to this address only; may be given several times.",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="Settle payments to anybody, for everybody who reaches --host, with the key's gas.",
    )
    parser.add_argument(
        "--min-amount",
        type=_dollars,
        default=CHEAPEST_JOB,
        metavar="DOLLARS",
        help="Settle no smaller payments. Default: 0.001.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on. Default: 127.0.0.1.")
    parser.add_argument("--port", type=_port, help="Default: 4011 monad, 4021 solana; 0 for any free one.")
    parser.add_argument(
        "--db", type=Path, help="File of past settlements. Default: the key's, ending in .book."
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--confirm-seconds", type=_seconds, default=30.0, help="How long to wait for a block. Default: 30."
    )
    node.add_argument(
        "--supervised",
        action="store_true",
        help="For the coordinator: read the node's URL and a secret from standard input, and end with it.",
    )
    given = parser.parse_args(argv)
    chain = Chain(given.chain)
    try:
        pay_to = tuple(checked_address(chain, each) for each in given.pay_to)
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
    elif not (pay_to or given.open or _only_here(given.host)):
        parser.error(
            f"whoever reaches {given.host} could spend the key's gas: say whose payments are settled with "
            "--pay-to ADDRESS, or --open for everybody's"
        )
    try:
        rpc_url = whispered.rpc_url if whispered else _rpc_url(given, PAYMENT_NETWORKS[chain].default_rpc_url)
    except (OSError, UnicodeDecodeError):
        parser.error("the file of the node's URL cannot be read")
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
        confirm_seconds=given.confirm_seconds,
        pay_to=pay_to,
        least=MicroUsd(0) if whispered else given.min_amount,
        secret=whispered.secret if whispered else None,
    )


def _rpc_url(given: argparse.Namespace, default: str) -> str:
    if given.rpc_url_file is not None:
        with given.rpc_url_file.open("rb") as file:
            return str(file.read(_LONGEST_URL).decode("utf-8").strip())
    return str(given.rpc_url or default)


def _only_here(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _dollars(text: str) -> MicroUsd:
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole and len(whole) <= 9 and len(fraction) <= 6):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dollars with at most 6 decimals")
    return MicroUsd(int(whole) * 1_000_000 + int(fraction.ljust(6, "0")))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 600")
    return seconds


async def serve(settings: Settings) -> None:
    """Answer until the process is told to stop.

    Raises:
        ConfigurationError: it cannot start with these settings.
    """
    # These take a second to import; a wrong flag or key file should be told at once.
    key = read_chain_key(settings.key, settings.chain)
    from compute_router.transport.facilitator.chain_sides import open_chain_side
    from compute_router.transport.facilitator.server import FacilitatorServer
    from compute_router.transport.facilitator.settling import Settling

    book = await _open_book(settings.db, 0.0 if settings.secret is None else _BOOK_PATIENCE_SECONDS)
    try:
        side = open_chain_side(
            settings.chain, key, settings.rpc_url, confirm_seconds=settings.confirm_seconds
        )
    except ValueError:
        book.close()
        raise ConfigurationError(f"The key file {settings.key} holds no usable key.") from None
    admission = Admission(
        settings.chain, pay_to=settings.pay_to, least=settings.least, secret=settings.secret
    )
    server = FacilitatorServer(settings.chain, side, Settling(side, book), admission)
    try:
        port = server.listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        label = NETWORKS[settings.chain].label
        print(f"{label} facilitator listening on http://{host}:{port}", flush=True)
        print(f"  pays fees as {side.address}, asks {urlsplit(settings.rpc_url).hostname}", flush=True)
        print(f"  {_whom(settings)}", flush=True)
        await server.problem()  # which writes what it finds to the log
        await _told_to_stop()
        logger.info("stopping: settlements under way are brought to an end")
        await server.stop()
    finally:
        side.close()
        book.close()


async def _open_book(path: Path, patience: float) -> SettlementBook:
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            return SettlementBook(path)
        except DatabaseInUseError:
            if time.monotonic() >= deadline:
                raise
        if not told:
            logger.warning("waiting for the facilitator that uses %s to end", path)
            told = True
        await asyncio.sleep(_BOOK_PAUSE_SECONDS)


async def _told_to_stop() -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


def _whom(settings: Settings) -> str:
    if settings.secret is not None:
        return "settles for the coordinator that started it"
    if settings.pay_to:
        return f"settles payments to {', '.join(settings.pay_to)}"
    if _only_here(settings.host):
        return "settles payments to anybody, for every program of this machine; --pay-to ADDRESS says to whom"
    return "settles payments to anybody, for everybody who reaches it"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    settings = read_settings(sys.argv[1:] if argv is None else argv)
    log_to_stderr(settings.log_level, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Requests to the node, whose URL may hold an API key, are nobody's business.
    for chatty in ("httpx", "httpx2", "httpcore", "urllib3", "web3", "solana"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if settings.secret is not None:
        threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    try:
        asyncio.run(serve(settings))
    except ComputeRouterError as error:
        print(f"compute-router facilitator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
