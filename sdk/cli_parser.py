"""The grammar of the command line."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compute_router.protocol.api_keys import KeyScope
from compute_router.protocol.jobs import JobType, Policy, TaskType
from compute_router.protocol.networks import Chain
from compute_router.sdk.exit_codes import EXIT_CODES_HELP
from compute_router.sdk.money import micro_usd_from_text
from compute_router.sdk.settings import (
    API_KEY_VARIABLE,
    RPC_URL_VARIABLE,
    TRUST_FILE_VARIABLE,
    URL_VARIABLE,
    USER_ID_VARIABLE,
    WALLET_KEY_VARIABLE,
    WALLET_VARIABLE,
)
from compute_router.sdk.spending import SpendingCaps

if TYPE_CHECKING:
    # argparse has no public name for the type that add_subparsers returns.
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EPILOG: Final = f"""environment:
  {URL_VARIABLE}      address of the coordinator, when --url is not given
  {USER_ID_VARIABLE}  for whom jobs run, when --user is not given
  {API_KEY_VARIABLE}  API key, when --api-key-file is not given
  {WALLET_VARIABLE}   file of the wallet, when --wallet is not given
  {WALLET_KEY_VARIABLE}  the key itself, in place of a file
  {RPC_URL_VARIABLE}  node of the chain, when --rpc-url is not given

{EXIT_CODES_HELP}"""
_LONGEST_S: Final = 2_000_000
"""Sockets take no longer times than 2^31 milliseconds."""

DEFAULT_OLLAMA_URL: Final = "http://127.0.0.1:11434"


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``compute-router``."""
    parser = argparse.ArgumentParser(
        prog="compute-router",
        description="Run inference and tasks on the compute network, and check who made the results.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common_options()
    user = _user_option()
    _add_quote(commands, common)
    _add_run(commands, [common, user])
    _add_status(commands, common)
    _add_cancel(commands, common)
    _add_health(commands, common)
    _add_earnings(commands, common)
    _add_trust(commands, common, user)
    _add_keys(commands, common)
    _add_receipt(commands, common)
    _add_verify(commands, common)
    _add_wallet(commands, common)
    _add_demo(commands)
    _add_database(commands)
    commands.add_parser("worker", help="run a worker (see: compute-router worker --help)", add_help=False)
    commands.add_parser(
        "coordinator", help="run a coordinator (see: compute-router coordinator --help)", add_help=False
    )
    commands.add_parser(
        "facilitator",
        help="settle payments on a chain (see: compute-router facilitator --help)",
        add_help=False,
    )
    commands.add_parser(
        "payout", help="pay workers what they earned (see: compute-router payout --help)", add_help=False
    )
    return parser


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("connection and output")
    group.add_argument(
        "--url", help=f"address of the coordinator (default: {URL_VARIABLE}, or that of --chain)"
    )
    group.add_argument(
        "--chain",
        choices=[chain.value for chain in Chain],
        help="network that the coordinator must serve (default address: solana on port 4020, monad on 4010)",
    )
    group.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"file of mode 600 with the API key, where one is needed (default: {API_KEY_VARIABLE})",
    )
    group.add_argument("--json", action="store_true", help="print JSON for programs")
    group.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="time to wait for a result (default: 60 for llm, 30 for tasks) or an answer (default: 10)",
    )
    return common


def _user_option() -> argparse.ArgumentParser:
    user = argparse.ArgumentParser(add_help=False)
    user.add_argument("--user", metavar="ID", help=f"for whom (default: {USER_ID_VARIABLE})")
    user.add_argument(
        "--trust-file",
        metavar="FILE",
        help=f"where the user's token and pinned workers are kept (default: {TRUST_FILE_VARIABLE}, or"
        " ~/.config/compute-router/trust.json)",
    )
    return user


def _add_quote(commands: _Commands, common: argparse.ArgumentParser) -> None:
    quote = commands.add_parser("quote", help="ask what a job costs", parents=[common])
    quote.add_argument("job_type", choices=[kind.value for kind in JobType])
    _add_policy(quote)


def _add_run(commands: _Commands, parents: list[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run a job and print its result")
    kinds = run.add_subparsers(dest="kind", required=True, metavar="KIND")
    llm = kinds.add_parser("llm", help="generate text", parents=parents)
    llm.add_argument("text", metavar="PROMPT", help='the prompt; "-" reads standard input, @FILE a file')
    llm.add_argument("--model", help="model to use (default: the worker chooses)")
    llm.add_argument("--max-tokens", type=_whole, metavar="N", help="longest answer in tokens")
    task = kinds.add_parser("task", help="run a built-in task on a text", parents=parents)
    task.add_argument("task_type", choices=[kind.value for kind in TaskType])
    task.add_argument("text", metavar="INPUT", help='the text; "-" reads standard input, @FILE a file')
    for kind in (llm, task):
        _add_policy(kind)
        kind.add_argument("--private", action="store_true", help="only on workers paired with the user")
        kind.add_argument(
            "--no-seal",
            action="store_true",
            help="send a PRIVATE job readable for the coordinator (otherwise it is sealed to pinned workers)",
        )
        kind.add_argument("--no-wait", action="store_true", help="print the job id and do not wait")
        kind.add_argument(
            "--ttl", type=_number, metavar="SECONDS", help="how long the job may wait for a worker"
        )
        kind.add_argument("--deadline", type=_number, metavar="SECONDS", help="how long the job may run")
        kind.add_argument(
            "--idempotency-key",
            metavar="KEY",
            help="name of this submission: the same command with the same key gives the same job for a day"
            " (not if it is sealed)",
        )
        kind.add_argument(
            "--cancel-on-interrupt",
            action="store_true",
            help="cancel the job on Ctrl-C (otherwise it goes on, and its id is printed)",
        )
        _add_wallet_options(kind)
        kind.add_argument(
            "--max-price",
            metavar="USD",
            type=_micro_usd,
            default=SpendingCaps().per_job,
            help="the most that the job may cost, such as 0.02 (default: 0.05)",
        )


def _add_status(commands: _Commands, common: argparse.ArgumentParser) -> None:
    status = commands.add_parser(
        "status",
        help="show a job",
        description="Show a job. --json prints the coordinator's answer byte for byte, fit for verify.",
        parents=[common],
    )
    status.add_argument("job_id", metavar="JOB_ID")
    status.add_argument(
        "--trust-file",
        metavar="FILE",
        help="as it was when a sealed job was submitted: the key to its result is kept beside this file",
    )


def _add_cancel(commands: _Commands, common: argparse.ArgumentParser) -> None:
    cancel = commands.add_parser(
        "cancel",
        help="cancel a job",
        description="Cancel a job. Exit code 1 when it ended before.",
        parents=[common],
    )
    cancel.add_argument("job_id", metavar="JOB_ID")


def _add_health(commands: _Commands, common: argparse.ArgumentParser) -> None:
    commands.add_parser(
        "health",
        help="ask how the coordinator is",
        description="Ask how the coordinator is. Exit code 1: it has problems; 3: it does not answer.",
        parents=[common],
    )


def _add_earnings(commands: _Commands, common: argparse.ArgumentParser) -> None:
    earnings = commands.add_parser(
        "earnings", help="show what a worker earned and was paid", parents=[common]
    )
    earnings.add_argument("pubkey", metavar="PUBKEY", help="64 hex digits")


def _add_trust(commands: _Commands, common: argparse.ArgumentParser, user: argparse.ArgumentParser) -> None:
    trust = commands.add_parser("trust", help="pair workers with a user, for PRIVATE jobs")
    actions = trust.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a pairing code", parents=[common, user])
    create.add_argument(
        "--wait", action="store_true", help="wait for the worker, and pin its key for sealed jobs"
    )
    create.add_argument(
        "--fingerprint", metavar="TEXT", help="with --wait: pin only the key whose fingerprint this is"
    )
    create.add_argument(
        "--allow-unsigned",
        action="store_true",
        help="with --wait: pin also a key that did not sign for the code (otherwise only with --fingerprint)",
    )
    actions.add_parser("list", help="list the user's workers", parents=[common, user])
    claim = actions.add_parser("claim", help="pair a worker by its public key", parents=[common])
    claim.add_argument("pairing_code", metavar="CODE")
    claim.add_argument("provider_pubkey", metavar="PUBKEY", help="64 hex digits")
    for name, what in (
        ("pin", "let jobs be sealed to a worker whose key you compared"),
        ("unpin", "seal nothing to a worker any more"),
        ("revoke", "unpin a worker and end its pairing"),
    ):
        action = actions.add_parser(name, help=what, parents=[common, user])
        action.add_argument("provider_pubkey", metavar="PUBKEY", help="64 hex digits")


def _add_keys(commands: _Commands, common: argparse.ArgumentParser) -> None:
    keys = commands.add_parser("keys", help="make, list and revoke API keys, with an admin key")
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make an API key",
        description="Make an API key and print it once, on standard output.",
        parents=[common],
    )
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in KeyScope],
        default=KeyScope.USER.value,
        help="user: for the jobs of one user; admin: for everything (default: %(default)s)",
    )
    create.add_argument("--user", metavar="ID", help="the user of a user key")
    create.add_argument("--name", default="", help="what to recognise the key by")
    for limit, what in (
        ("--jobs-per-minute", "jobs that the key may make in a minute"),
        ("--jobs-at-once", "unfinished jobs of the user"),
        ("--jobs-per-day", "jobs that the key may make on a day, in UTC"),
    ):
        create.add_argument(limit, type=_whole, metavar="N", help=f"{what} (default: no limit)")
    create.add_argument(
        "--db", metavar="FILE", help="write to the database of a stopped coordinator; for the first key"
    )
    listing = actions.add_parser("list", help="list all API keys", parents=[common])
    revoke = actions.add_parser("revoke", help="revoke an API key at once", parents=[common])
    revoke.add_argument("key_id", metavar="KEY_ID")
    for action in (create, listing, revoke):
        action.add_argument("--coordinator", dest="url", metavar="URL", help="the same as --url")


def _add_verify(commands: _Commands, common: argparse.ArgumentParser) -> None:
    verify = commands.add_parser(
        "verify",
        help="check the receipt of a job",
        description="Check who made a result, and for what. A file is checked without any connection. "
        "Exit code 0 only if every check that was asked for passed.",
        parents=[common],
    )
    verify.add_argument(
        "target",
        metavar="FILE|JOB_ID",
        help='a saved receipt ("receipt --save"), a saved answer ("status --json", curl), a receipt with its '
        'signature, "-", or a job to fetch',
    )
    verify.add_argument(
        "--output", metavar="FILE", type=Path, help="check that this was the output: its bytes, or an answer"
    )
    verify.add_argument(
        "--request", metavar="FILE", type=Path, help="check that this was the payload: its bytes as committed"
    )
    verify.add_argument(
        "--coordinator-key",
        metavar="HEX",
        type=_public_key,
        help="check that this coordinator countersigned (see /.well-known/compute-router)",
    )


def _add_receipt(commands: _Commands, common: argparse.ArgumentParser) -> None:
    receipt = commands.add_parser(
        "receipt",
        help="fetch the receipt of a job",
        description="Fetch the receipt of a completed job, countersigned, byte for byte: fit for verify.",
        parents=[common],
    )
    receipt.add_argument("job_id", metavar="JOB_ID")
    receipt.add_argument("--save", metavar="FILE", type=Path, help="write it to a file, not to the screen")


def _add_wallet_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wallet", metavar="FILE", help=f"wallet that pays for jobs (default: {WALLET_VARIABLE}, else none)"
    )
    parser.add_argument(
        "--rpc-url",
        metavar="URL",
        help=f"node of the wallet's chain (default: {RPC_URL_VARIABLE}, or a public one)",
    )


def _add_wallet(commands: _Commands, common: argparse.ArgumentParser) -> None:
    wallet = commands.add_parser("wallet", help="make and look at the wallet that pays for jobs")
    actions = wallet.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make a wallet",
        description="Make a new key in a file of mode 600, and print its address. No file is written over.",
    )
    create.add_argument("--chain", choices=[chain.value for chain in Chain], required=True)
    create.add_argument(
        "--wallet",
        metavar="FILE",
        help="file to make (default: ~/.config/compute-router/wallet-CHAIN.key)",
    )
    create.add_argument("--json", action="store_true", help="print JSON for programs")
    for name, what in (
        ("show", "print address and chain, and the credits at a coordinator"),
        ("balance", "ask the chain how much USDC a wallet has"),
    ):
        sentence = f"{what[0].upper()}{what[1:]}."
        action = actions.add_parser(name, help=what, description=sentence, parents=[common])
        _add_wallet_options(action)
        if name == "show":
            action.add_argument(
                "--trust-file", metavar="FILE", help="as it is for jobs: credits are kept beside this file"
            )


def _add_demo(commands: _Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="see the whole network work on this machine",
        description="Start a coordinator and three workers, run three jobs, and stop everything.",
    )
    demo.add_argument(
        "--chain",
        choices=[chain.value for chain in Chain],
        default=Chain.SOLANA.value,
        help="default: %(default)s",
    )
    demo.add_argument(
        "--ollama",
        metavar="URL",
        default=DEFAULT_OLLAMA_URL,
        help="Ollama server for the inference job (default: %(default)s)",
    )
    demo.add_argument("--keep", action="store_true", help="keep the directory with keys, database and logs")


def _add_database(commands: _Commands) -> None:
    backup = commands.add_parser(
        "backup",
        help="copy a coordinator's database while it runs",
        description="Make a consistent copy of a coordinator's database, on the coordinator's machine.",
    )
    backup.add_argument("destination", metavar="DEST", help="file to write")
    backup.add_argument("--db", required=True, metavar="FILE", help="the coordinator's database")
    check = commands.add_parser(
        "check-db", help="check a database or a copy of one", description="Check a database or a copy of one."
    )
    check.add_argument("db", metavar="FILE")
    workers = commands.add_parser(
        "workers",
        help="show what worker keys did, and let a barred one take part again",
        description="Read the records of worker keys in a coordinator's database. To lift a bar, stop the "
        "coordinator first.",
    )
    workers.add_argument("action", choices=["list", "show", "unbar"])
    workers.add_argument("pubkey", nargs="?", metavar="PUBKEY", help="the key to show or unbar")
    workers.add_argument("--db", required=True, metavar="FILE", help="the coordinator's database")


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        choices=[policy.value for policy in Policy],
        default=Policy.AUTO.value,
        help="service level (default: AUTO, which is FAST for inference and CHEAP for tasks)",
    )


def _public_key(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no public key: 64 hex digits in lower case")
    return text


def _micro_usd(text: str) -> int:
    try:
        return micro_usd_from_text("$" + text.removeprefix("$"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in US dollars, such as 0.02") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, 0 to {_LONGEST_S}")
    return seconds
