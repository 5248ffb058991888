"""Pay workers what they earned: ``python -m compute_router.transport.payer --chain monad --dry-run``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from compute_router.protocol.api_keys import key_id_of
from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, DatabaseInUseError
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_packages import payment_packages
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.payout_api import MOST_PAYOUTS, PayoutPlan
from compute_router.protocol.recursion_limit import kept_recursion_limit
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.protocol.web_url import is_web_url
from compute_router.storage.file_lock import FileLock
from compute_router.transport.payer.coordinator_book import CoordinatorBook
from compute_router.transport.payer.paying import Payer, Report

if TYPE_CHECKING:
    from compute_router.transport.payer.evm_purse import EvmPurse
    from compute_router.transport.payer.solana_purse import SolanaPurse

_USD: Final = re.compile(r"\$?(\d{1,9})(?:\.(\d{1,6}))?", re.ASCII)
_POLL_SECONDS: Final = 1.0
_NODE_SECONDS: Final = 10.0
_LONGEST_FILE: Final = 4096
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
    wait_seconds: float

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Settings({self.chain.value!r}, {self.url!r})"


def read_settings(argv: Sequence[str]) -> Settings:
    """Settings from flags. A bad one ends the process with exit code 2.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    chain = Chain(given.chain)
    if given.execute and given.key is None:
        parser.error("--execute needs --key, the file with the key that pays")
    if given.rpc_url_file is not None:
        rpc_url = _line_of(given.rpc_url_file)
    else:
        rpc_url = PAYMENT_NETWORKS[chain].default_rpc_url if given.rpc_url is None else given.rpc_url
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
        wait_seconds=given.wait_seconds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compute-router payout",
        description="Pay workers what they earned, one transfer each. The coordinator must be running: it "
        "keeps the book, and an admin key opens it. It can be ended and started again at any time; nobody is "
        "paid twice.",
        epilog="Exit code 1: something is still open, or was refused; see above.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dry-run", action="store_true", help="show who would be paid, and change nothing")
    what.add_argument("--execute", action="store_true", help="pay")
    add("--chain", choices=[chain.value for chain in Chain], required=True)
    add("--url", help="address of the coordinator (default: this machine, the chain's usual port)")
    add("--api-key-file", type=Path, required=True, metavar="FILE", help="file of mode 600 with an admin key")
    node = parser.add_mutually_exclusive_group()
    node.add_argument("--rpc-url", metavar="URL", help="the chain's JSON-RPC node (default: the public one)")
    node.add_argument(
        "--rpc-url-file", type=Path, metavar="FILE", help="file with the node's URL, if an API key is in it"
    )
    add("--key", type=Path, metavar="PATH", help="file of mode 600 with the key that pays, and the fees too")
    add(
        "--threshold",
        type=_usd,
        default=MicroUsd(1_000_000),
        metavar="USD",
        help="pay only workers that are owed at least so much (default: 1.00)",
    )
    add(
        "--limit",
        type=_limit,
        default=MOST_PAYOUTS,
        metavar="N",
        help="pay so many workers at the most, those owed most first (default: %(default)s)",
    )
    add(
        "--wait-seconds",
        type=_seconds,
        default=90.0,
        metavar="N",
        help="how long to wait for the chain; what is open then is for the next run (default: 90)",
    )
    return parser


def _usd(text: str) -> MicroUsd:
    match = _USD.fullmatch(text)
    amount = 0 if match is None else int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0"))
    if amount < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of US dollars, such as 1.50")
    return MicroUsd(amount)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_PAYOUTS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_PAYOUTS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 3600")
    return seconds


def _line_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_FILE).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"The file {path} cannot be read.") from None


def _api_key(path: Path) -> str:
    api_key = _line_of(path)
    if os.name == "posix" and path.stat().st_mode & _ACCESS_FOR_OTHERS:
        raise ConfigurationError(f"The file {path} is open to other users. Run: chmod 600 {path}")
    if key_id_of(api_key) is None:
        raise ConfigurationError(f"The file {path} holds no API key: one line that begins with crk_.")
    return api_key


def open_purse(chain: Chain, key: bytes, rpc_url: str) -> EvmPurse | SolanaPurse:
    """The purse of a key on its chain. What only one chain needs is imported here.

    Raises:
        ConfigurationError: the key is not usable, or packages are missing.
    """
    try:
        with payment_packages():
            from compute_router.transport.payments.json_rpc import JsonRpc

            rpc = JsonRpc(rpc_url, _NODE_SECONDS)
            if chain is Chain.MONAD:
                with kept_recursion_limit():
                    from compute_router.transport.payer.evm_purse import EvmPurse

                return EvmPurse(key, rpc)
            from compute_router.transport.payer.solana_purse import SolanaPurse

            return SolanaPurse(key, rpc)
    # What the libraries say of a bad key could quote it.
    except ValueError:
        raise ConfigurationError("The key file holds no usable key.") from None


async def show_plan(settings: Settings) -> int:
    """Print who would be paid."""
    async with CoordinatorBook(settings.url, settings.api_key, NETWORKS[settings.chain].caip2) as book:
        _print_plan(await book.plan(settings.threshold, settings.limit), settings.threshold)
    return 0


async def execute(settings: Settings, key: bytes) -> int:
    """Pay, and print how it ended; the exit code."""
    purse = open_purse(settings.chain, key, settings.rpc_url)
    try:
        async with CoordinatorBook(settings.url, settings.api_key, NETWORKS[settings.chain].caip2) as book:
            print(f"pays from {purse.address} on {NETWORKS[settings.chain].label}", flush=True)
            payer = Payer(book, purse, settings.threshold, settings.limit)
            rounds = round(settings.wait_seconds / _POLL_SECONDS)
            report: Report = await payer.pay(rounds, lambda: asyncio.sleep(_POLL_SECONDS))
    finally:
        await purse.close()
    print(f"{report.settled} paid, {report.refused} owed again, {report.open} still open")
    return 1 if report.refused or report.open else 0


def _print_plan(plan: PayoutPlan, threshold: MicroUsd) -> None:
    for one in plan.payable:
        print(f"would pay {format_usd(one.amount)} to {one.address} for {one.provider_pubkey}")
    for payout in plan.open:
        amount = format_usd(payout.amount)
        print(
            f"{payout.state.value}: {amount} to {payout.address} ({payout.transaction_ref or 'not signed'})"
        )
    total = MicroUsd(sum(one.amount for one in plan.payable))
    print(f"{len(plan.payable)} to pay, {format_usd(total)} in all; {len(plan.open)} open from before")
    if not plan.payable:
        least = format_usd(threshold)
        print(f"Nobody with a payout address and no open payout is owed {least} or more; see --threshold.")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
        log_to_stderr("info", "%(levelname)s %(message)s")
        # Requests to the node, whose URL may hold an API key, are nobody's business.
        for chatty in ("httpx", "httpcore", "urllib3", "web3", "solana"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        if settings.key is None:
            return asyncio.run(show_plan(settings))
        key = read_chain_key(settings.key, settings.chain)
        # Two runs with one key would use the same nonces: each payout once still, but many in vain.
        lock = FileLock(settings.key.resolve())
        try:
            return asyncio.run(execute(settings, key))
        finally:
            lock.release()
    except DatabaseInUseError:
        print("compute-router payout: another run pays with this key at the moment.", file=sys.stderr)
    except ComputeRouterError as error:
        print(f"compute-router payout: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("compute-router payout: interrupted; run it again to finish what is open.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
