"""Pay workers what they earned: ``python -m compute_router.transport.payer --chain monad --dry-run``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, DatabaseInUseError
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_packages import payment_packages
from compute_router.protocol.payout_api import PayoutPlan
from compute_router.protocol.recursion_limit import kept_recursion_limit
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.storage.file_lock import FileLock
from compute_router.transport.payer.coordinator_book import CoordinatorBook
from compute_router.transport.payer.paying import PayoutRun, Report
from compute_router.transport.payer.settings import Settings, read_settings

if TYPE_CHECKING:
    from compute_router.transport.payer.evm_purse import EvmPurse
    from compute_router.transport.payer.solana_purse import SolanaPurse

_POLL_SECONDS: Final = 1.0
_NODE_SECONDS: Final = 10.0


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
            run = PayoutRun(book, purse, settings.threshold, settings.limit)
            rounds = round(settings.wait / 1000 / _POLL_SECONDS)
            report: Report = await run.pay(rounds, lambda: asyncio.sleep(_POLL_SECONDS))
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
        settings = read_settings(sys.argv[1:] if argv is None else argv, os.environ)
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
