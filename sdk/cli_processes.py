"""The commands that become another process of the project."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

MODULES: Final = {
    "worker": "compute_router.worker",
    "coordinator": "run_coordinator",
    "facilitator": "compute_router.transport.facilitator",
    "payout": "compute_router.transport.payer",
}
"""Commands that are other programs. What follows such a command is passed on unread."""

STORAGE_MODULE: Final = "compute_router.storage"


def become(module: str, arguments: list[str]) -> NoReturn:
    """Run a module in place of this process, so that signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    # No shell is wanted: the arguments are passed on as they are.
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
