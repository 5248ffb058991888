"""Writes ``requirements.lock``: every dependency at one version, with the hashes of all its files.

pip-compile finds them, in an environment of its own. No address of a registry gets into the file.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tools.environment import own_environment

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements.lock"
_PIP_TOOLS: Final = "pip-tools==7.6.2"
_QUIET_ABOUT_THE_REGISTRY: Final = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host")


def wanted() -> list[str]:
    """What the project asks for itself, at run time and for its development."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    extras = config["options.extras_require"]
    asked = config["options"]["install_requires"] + extras["payments"] + extras["dev"]
    return sorted(line for line in asked.splitlines() if line)


def main() -> int:
    """Write the lock; the exit code of pip-compile."""
    python = own_environment("lock", _PIP_TOOLS)
    with tempfile.TemporaryDirectory() as directory:
        asked = Path(directory) / "requirements.in"
        asked.write_text("\n".join(wanted()) + "\n", "utf-8")
        written = Path(directory) / "requirements.lock"
        command = [
            python,
            "-m",
            "piptools",
            "compile",
            "--generate-hashes",
            "--allow-unsafe",
            "--strip-extras",
        ]
        command += [*_QUIET_ABOUT_THE_REGISTRY, "--no-header", "--no-annotate", "--quiet"]
        # Only the usual registry: a file from somewhere else would put other hashes into the lock.
        plain = {name: value for name, value in os.environ.items() if name not in _OTHER_SOURCES}
        compiled = subprocess.run(
            [*command, "--output-file", str(written), str(asked)], env=plain, check=False
        )
        if compiled.returncode == 0:
            LOCK.write_text(written.read_text("utf-8"), "utf-8")
    return compiled.returncode


_OTHER_SOURCES: Final = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")

if __name__ == "__main__":
    sys.exit(main())
