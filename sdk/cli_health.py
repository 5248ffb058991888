"""The command ``health``."""

from __future__ import annotations

import argparse
from typing import Final

from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable
from compute_router.sdk.exit_codes import ExitCode

_WELL: Final = "ok"


def health(arguments: argparse.Namespace) -> ExitCode:
    """Print how the coordinator is. Anything but ``ok`` is exit code 1, for monitors."""
    with open_asking_client(arguments) as router:
        answer = router.health()
    if arguments.json:
        print_json(answer)
    else:
        print(f"status     {printable(answer.status)}")
        print(f"workers    {answer.workers_online}")
        print(f"network    {printable(answer.network)}")
        for problem in answer.problems:
            print(f"problem    {printable(problem)}")
    return ExitCode.OK if answer.status == _WELL else ExitCode.FAILED
