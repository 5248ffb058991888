"""The commands that become another process of the project: ``worker`` and ``coordinator``."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

MODULES: Final = {"worker": "compute_router.worker", "coordinator": "run_coordinator"}


def become(command: str, arguments: list[str]) -> NoReturn:
    """Replace this process, so that signals and the exit code are the other's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    # No shell is wanted: the arguments are passed on as they are.
    os.execv(sys.executable, [sys.executable, "-m", MODULES[command], *arguments])  # noqa: S606
