"""The client that a command line asks for."""

from __future__ import annotations

import argparse

from compute_router.protocol.key_likeness import looks_like_key
from compute_router.sdk.api_key_file import read_api_key
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.options import RetryObserver
from compute_router.sdk.reply_key_files import ReplyKeyFiles
from compute_router.sdk.rhythm import LONGEST_WAIT_S
from compute_router.sdk.settings import API_KEY_VARIABLE, WALLET_KEY_VARIABLE, expanded, trust_file_path
from compute_router.sdk.spending import SpendingCaps
from compute_router.sdk.sync_client import ComputeRouter
from compute_router.sdk.wallet import Wallet

_REQUEST_TIMEOUT_S = 10.0


def open_paying_client(
    arguments: argparse.Namespace, on_retry: RetryObserver, longest_wait_s: int = LONGEST_WAIT_S
) -> ComputeRouter:
    """A client with the connection options of a command that runs or submits jobs, and its wallet."""
    return ComputeRouter(
        arguments.url,
        chain=arguments.chain,
        user_id=getattr(arguments, "user", None),
        api_key=_api_key(arguments),
        trust_file=trust_file_path(getattr(arguments, "trust_file", None)),
        wallet=wallet_of(arguments),
        spending=SpendingCaps(per_job=arguments.max_price, per_session=arguments.max_price),
        longest_wait_s=longest_wait_s,
        on_retry=on_retry,
        request_timeout_s=_REQUEST_TIMEOUT_S,
    )


def open_client(arguments: argparse.Namespace) -> ComputeRouter:
    """A client for a command that waits, and neither runs nor pays for jobs."""
    return _unpaid_client(arguments, _REQUEST_TIMEOUT_S)


def open_asking_client(arguments: argparse.Namespace) -> ComputeRouter:
    """A client for single questions, whose time-out is that of one answer."""
    return _unpaid_client(arguments, answer_timeout_s(arguments))


def answer_timeout_s(arguments: argparse.Namespace) -> float:
    """How long a command waits for an answer.

    Raises:
        InvalidArgumentError: not at all.
    """
    timeout_s: float = _REQUEST_TIMEOUT_S if arguments.timeout is None else arguments.timeout
    if timeout_s == 0:
        raise InvalidArgumentError("--timeout 0 leaves no time for an answer.")
    return timeout_s


def _unpaid_client(arguments: argparse.Namespace, timeout_s: float) -> ComputeRouter:
    return ComputeRouter(
        arguments.url,
        chain=arguments.chain,
        user_id=getattr(arguments, "user", None),
        api_key=_api_key(arguments),
        trust_file=trust_file_path(getattr(arguments, "trust_file", None)),
        wallet="",
        request_timeout_s=timeout_s,
    )


def wallet_of(arguments: argparse.Namespace) -> Wallet | None:
    """The wallet that a command line or the environment names.

    Raises:
        InvalidArgumentError: the command line holds a key in place of a file.
        WalletError: the wallet cannot be used.
    """
    named: str | None = arguments.wallet
    if named is None:
        return Wallet.from_environment(rpc_url=arguments.rpc_url)
    if looks_like_key(named):
        # It must not be repeated in a complaint about a missing file.
        raise InvalidArgumentError(
            "--wallet names a file. A key on the command line can be seen by others: put it into a file of"
            f" mode 600, or into {WALLET_KEY_VARIABLE}, and better move the money away from this one."
        )
    return Wallet.from_file(named, rpc_url=arguments.rpc_url)


def _api_key(arguments: argparse.Namespace) -> str | None:
    """The key in the file that was named; without one, the client looks at the environment."""
    named: str | None = arguments.api_key_file
    if named is None:
        return None
    if named.startswith("crk_"):
        # It must not be repeated in a complaint about a missing file.
        raise InvalidArgumentError(
            "--api-key-file names a file. A key on the command line can be seen by others: "
            f"put it into a file of mode 600, or into {API_KEY_VARIABLE}, and better revoke this one."
        )
    return read_api_key(expanded(named))


def reply_key_files(arguments: argparse.Namespace) -> ReplyKeyFiles:
    """The keys to sealed results, which are kept beside the trust file."""
    trust_file = trust_file_path(getattr(arguments, "trust_file", None))
    return ReplyKeyFiles(trust_file.parent / "reply-keys")
