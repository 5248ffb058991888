"""The command ``earnings``."""

from __future__ import annotations

import argparse

from compute_router.protocol.payout_api import EarningsAnswer
from compute_router.protocol.units import format_usd
from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable
from compute_router.sdk.exit_codes import ExitCode


def earnings(arguments: argparse.Namespace) -> ExitCode:
    """Print what a worker earned and what it was paid."""
    with open_asking_client(arguments) as router:
        answer = router.earnings(arguments.pubkey)
    if arguments.json:
        print_json(answer)
        return ExitCode.OK
    print(f"earned     {format_usd(answer.earned)}")
    print(f"paid out   {format_usd(answer.paid_out)}")
    print(f"pending    {format_usd(answer.pending)}")
    address = answer.payout_address or _no_address(answer)
    print(f"address    {printable(address)}")
    for payout in answer.payouts:
        reference = payout.transaction_ref or payout.reason or "not sent yet"
        line = f"{payout.created_at}  {format_usd(payout.amount)}  {payout.state.value}  {reference}"
        print(f"payout     {printable(line)}")
    return ExitCode.OK


def _no_address(answer: EarningsAnswer) -> str:
    if answer.earned or answer.payouts:
        return "none named: start the worker with --payout-address"
    # A coordinator has zeros for keys that it never heard of.
    return "none named, and nothing earned here: is this the key that the worker prints at its start?"
