"""Start one facilitator: ``python -m compute_router.transport.facilitator --chain monad --key PATH``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, DatabaseInUseError
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.storage.settlement_book import SettlementBook

logger = logging.getLogger("compute_router.facilitator")

DEFAULT_PORTS: Final = {Chain.MONAD: 4011, Chain.SOLANA: 4021}
_LONGEST_URL: Final = 4096
_BOOK_PAUSE_SECONDS: Final = 0.1
_BOOK_PATIENCE_SECONDS: Final = 30.0
"""How long a facilitator of a coordinator waits for the book: the one before it may still be ending."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen. Nothing in it is secret but ``rpc_url``, which may hold an API key."""

    chain: Chain
    rpc_url: str
    key: Path
    host: str
    port: int
    db: Path
    log_level: str
    confirm_seconds: float
    supervised: bool


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
        help="Read the node's URL as a line from standard input, and stop when standard input ends.",
    )
    given = parser.parse_args(argv)
    chain = Chain(given.chain)
    try:
        rpc_url = _rpc_url(given, PAYMENT_NETWORKS[chain].default_rpc_url)
    except (OSError, UnicodeDecodeError):
        parser.error("the file of the node's URL cannot be read")
    if urlsplit(rpc_url).scheme not in ("http", "https"):
        parser.error("the node's URL must begin with http:// or https://")
    return Settings(
        chain=chain,
        rpc_url=rpc_url,
        key=given.key,
        host=given.host,
        port=DEFAULT_PORTS[chain] if given.port is None else given.port,
        db=given.key.with_name(given.key.name + ".book") if given.db is None else given.db,
        log_level=given.log_level,
        confirm_seconds=given.confirm_seconds,
        supervised=given.supervised,
    )


def _rpc_url(given: argparse.Namespace, default: str) -> str:
    if given.supervised:
        line = bytearray()
        while len(line) < _LONGEST_URL and (letter := os.read(0, 1)) not in (b"", b"\n"):
            line += letter
        return line.decode("utf-8")
    if given.rpc_url_file is not None:
        with given.rpc_url_file.open("rb") as file:
            return str(file.read(_LONGEST_URL).decode("utf-8").strip())
    return str(given.rpc_url or default)


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

    book = await _open_book(settings.db, _BOOK_PATIENCE_SECONDS if settings.supervised else 0.0)
    try:
        side = open_chain_side(
            settings.chain, key, settings.rpc_url, confirm_seconds=settings.confirm_seconds
        )
    except ValueError:
        book.close()
        raise ConfigurationError(f"The key file {settings.key} holds no usable key.") from None
    server = FacilitatorServer(settings.chain, side, Settling(side, book))
    try:
        port = server.listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        label = NETWORKS[settings.chain].label
        print(f"{label} facilitator listening on http://{host}:{port}", flush=True)
        print(f"  pays fees as {side.address}, asks {urlsplit(settings.rpc_url).hostname}", flush=True)
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


def _end_with_parent() -> None:
    """Wait for the end of standard input, and end this process at once.

    Whoever started it holds the other end of the pipe; it closes however he ends. His next facilitator needs
    the book, and finds in it what was sent: nothing is gained by waiting for blocks that nobody asks about.
    """
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    settings = read_settings(sys.argv[1:] if argv is None else argv)
    log_to_stderr(settings.log_level, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Requests to the node, whose URL may hold an API key, are nobody's business.
    for chatty in ("httpx", "httpx2", "httpcore", "urllib3", "web3", "solana"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if settings.supervised:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        asyncio.run(serve(settings))
    except ComputeRouterError as error:
        print(f"compute-router facilitator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
