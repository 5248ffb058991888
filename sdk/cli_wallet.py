"""The commands ``wallet create``, ``wallet show`` and ``wallet balance``."""

from __future__ import annotations

import argparse
import shlex
from typing import Final

from compute_router.protocol.key_likeness import looks_like_key
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk.cli_client import answer_timeout_s, open_asking_client, wallet_of
from compute_router.sdk.cli_output import print_json, say
from compute_router.sdk.errors import InvalidArgumentError, WalletError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.settings import expanded
from compute_router.sdk.wallet import Wallet
from compute_router.sdk.wallet_balance import balance_of
from compute_router.sdk.wallet_file import create_wallet

_DIRECTORY = "~/.config/compute-router"
_GAS: Final = {Chain.MONAD: "MON", Chain.SOLANA: "SOL"}


def create(arguments: argparse.Namespace) -> ExitCode:
    """Make a wallet and print its address."""
    if arguments.wallet is not None and looks_like_key(arguments.wallet):
        raise InvalidArgumentError("--wallet names a file to make; it takes no key.")
    chain = Chain(arguments.chain)
    path = expanded(arguments.wallet or f"{_DIRECTORY}/wallet-{chain.value}.key")
    wallet = create_wallet(path, chain)
    if arguments.json:
        print_json(_facts(wallet) | {"file": str(path)})
        return ExitCode.OK
    print(wallet.address, flush=True)
    asset = PAYMENT_NETWORKS[chain]
    say(f"The key is in {path}. Whoever has this file has the money: keep a copy where nobody else reads it.")
    say(
        f"Send {asset.asset_name} on {NETWORKS[chain].label} to the address, then run jobs with:"
        f" --chain {chain.value} --wallet {shlex.quote(str(path))}"
    )
    say(f"As the key of a facilitator or of payouts it needs {_GAS[chain]}, which pays for transactions.")
    return ExitCode.OK


def show(arguments: argparse.Namespace) -> ExitCode:
    """Print where a wallet's money is, and which credits there are beside it."""
    wallet = _wallet(arguments)
    # Credits are at a coordinator, and those of a wallet are at one of its chain.
    arguments.chain = wallet.chain.value
    with open_asking_client(arguments) as router:
        credit = MicroUsd(sum(router.credits()))
        url = router.base_url
    if arguments.json:
        print_json(_facts(wallet) | {"coordinator": url, "credit": format_usd(credit)})
        return ExitCode.OK
    print(f"{wallet.address}  {NETWORKS[wallet.chain].label}")
    print(f"{format_usd(credit)} of credit at {url}")
    return ExitCode.OK


def balance(arguments: argparse.Namespace) -> ExitCode:
    """Print what a wallet has on its chain."""
    wallet = _wallet(arguments)
    found = balance_of(wallet, answer_timeout_s(arguments))
    if arguments.json:
        print_json(_facts(wallet) | {"balance": format_usd(found), "micro_usd": found})
        return ExitCode.OK
    print(f"{format_usd(found)}  {PAYMENT_NETWORKS[wallet.chain].asset_name} of {wallet.address}")
    return ExitCode.OK


def _wallet(arguments: argparse.Namespace) -> Wallet:
    wallet = wallet_of(arguments)
    if wallet is None:
        raise WalletError(
            "Which wallet? Give --wallet FILE, or set COMPUTE_ROUTER_WALLET. compute-router wallet create"
            f" --chain monad makes {_DIRECTORY}/wallet-monad.key"
        )
    if arguments.chain not in (None, wallet.chain.value):
        raise WalletError(
            f"The wallet is one of {NETWORKS[wallet.chain].label}, and not of"
            f" {NETWORKS[Chain(arguments.chain)].label}."
        )
    return wallet


def _facts(wallet: Wallet) -> dict[str, str]:
    return {"address": wallet.address, "chain": wallet.chain.value, "network": wallet.network}
