"""Environments beside the project's own, so that its tools do not mix with what it depends on."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_HURRY: Final = ("--quiet", "--disable-pip-version-check", "--no-input", "--timeout", "15", "--retries", "1")
_MOST_SECONDS: Final = 300


def own_environment(name: str, *requirements: str) -> str:
    """The path of a Python that has these packages; makes the environment when there is none.

    Raises:
        subprocess.SubprocessError: they cannot be installed, for example without a network.
    """
    directory = Path(sys.prefix) / "tools" / name
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    install = [str(python), "-m", "pip", "install", *_HURRY, *requirements]
    subprocess.run(install, check=True, capture_output=True, timeout=_MOST_SECONDS)
    return str(python)
