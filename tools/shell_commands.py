"""Commands of ``compute-router``, run as in a shell."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from compute_router.sdk.demo_processes import DemoFailedError
from compute_router.sdk.settings import private_environment

_PATIENCE_S: Final = 100.0


def run_command(*arguments: str) -> str:
    """Run ``compute-router`` with these arguments, without settings of this machine; what it printed.

    Raises:
        DemoFailedError: it ended with another exit code than 0, or not at all.
    """
    name = f"compute-router {arguments[0]}"
    try:
        # Arguments come from this program; no shell is involved. A child that is waited for in vain, or while
        # an interrupt strikes, is killed.
        ended = subprocess.run(
            [sys.executable, "-m", "compute_router.sdk", *arguments],
            env=private_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoFailedError(f"{name} did not end within {_PATIENCE_S:g} s.") from None
    if ended.returncode != 0:
        said = (ended.stdout + ended.stderr).strip()
        raise DemoFailedError(f"{name} ended with exit code {ended.returncode}: {said}")
    return ended.stdout.strip()
