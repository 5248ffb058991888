"""The command line of the project: ``compute-router COMMAND ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk import (
    cli_database,
    cli_earnings,
    cli_health,
    cli_jobs,
    cli_keys,
    cli_run,
    cli_trust,
    cli_verify,
    cli_wallet,
    demo,
)
from compute_router.sdk.cli_output import print_json, say
from compute_router.sdk.cli_parser import build_parser
from compute_router.sdk.cli_processes import MODULES, become
from compute_router.sdk.cli_streams import drop_output, prepare_output
from compute_router.sdk.exit_codes import ExitCode, exit_code_of

Command = Callable[[argparse.Namespace], ExitCode]

_COMMANDS: Final[dict[str, Command]] = {
    "quote": cli_jobs.quote,
    "run": cli_run.run,
    "status": cli_jobs.status,
    "cancel": cli_jobs.cancel,
    "health": cli_health.health,
    "earnings": cli_earnings.earnings,
    "receipt": cli_verify.receipt,
    "verify": cli_verify.verify,
    "demo": demo.demo,
    "backup": cli_database.backup,
    "check-db": cli_database.check_db,
    "workers": cli_database.workers,
}
_TRUST_ACTIONS: Final[dict[str, Command]] = {
    "create": cli_trust.create,
    "claim": cli_trust.claim,
    "list": cli_trust.list_providers,
    "pin": cli_trust.pin,
    "unpin": cli_trust.unpin,
    "revoke": cli_trust.revoke,
}
_KEY_ACTIONS: Final[dict[str, Command]] = {
    "create": cli_keys.create,
    "list": cli_keys.list_keys,
    "revoke": cli_keys.revoke,
}
_WALLET_ACTIONS: Final[dict[str, Command]] = {
    "create": cli_wallet.create,
    "show": cli_wallet.show,
    "balance": cli_wallet.balance,
}
_ACTIONS: Final = {"trust": _TRUST_ACTIONS, "keys": _KEY_ACTIONS, "wallet": _WALLET_ACTIONS}
# What errors carry beside their code and sentence.
_FACTS: Final = ("job_id", "reason", "last_reason", "detail", "idempotency_key", "retry_after_s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    prepare_output()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        # Here, because at exit nobody would be told of an error.
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output went away.
        drop_output()
        return ExitCode.FAILED
    except OSError as error:
        with suppress(OSError):
            say(f"compute-router: reading or writing failed: {error}")
        drop_output()
        return ExitCode.FAILED
    return code


def _run(words: list[str]) -> int:
    # Before argparse, which would take the other program's options for its own.
    if words and words[0] in MODULES:
        become(MODULES[words[0]], words[1:])
    try:
        arguments = build_parser().parse_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    actions = _ACTIONS.get(arguments.command)
    command = _COMMANDS[arguments.command] if actions is None else actions[arguments.action]
    try:
        return command(arguments)
    except ComputeRouterError as error:
        _report(error, as_json=getattr(arguments, "json", False))
        return exit_code_of(error)
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED


def _report(error: ComputeRouterError, *, as_json: bool) -> None:
    if not as_json:
        say(f"compute-router: {error}")
        return
    facts = {name: getattr(error, name, None) for name in _FACTS}
    known = {name: value for name, value in facts.items() if value is not None}
    print_json({"error": error.code, "message": str(error), **known})


if __name__ == "__main__":
    sys.exit(main())
