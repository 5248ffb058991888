"""What a program says where the packages of payments are not installed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError

_OURS: Final = "compute_router"
_ABOVE: Final = Path(__file__).resolve().parent.parent
"""The directory of a checkout, or in an installation that of all our packages."""


@contextmanager
def payment_packages() -> Iterator[None]:
    """To be put around what imports those packages.

    Raises:
        ConfigurationError: one of them is missing. The sentence says how they are installed.
    """
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] == _OURS:
            raise
        raise ConfigurationError(
            f"Payments need packages that are not installed ({error.name}). Run: {install_command()}"
        ) from None


def install_command(above: Path = _ABOVE) -> str:
    """What installs them for the running interpreter. ``above`` is the directory that our packages are in."""
    what = ["-e", f"{above}[payments]"] if _is_checkout(above) else ["compute-router[payments]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *what])


def _is_checkout(above: Path) -> bool:
    try:
        return "name = compute-router" in (above / "setup.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
