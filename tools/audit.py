"""``make audit``: known weaknesses of the dependencies, or at least that they are the ones of the lock.

pip-audit asks a public database about every version in ``requirements.lock``. Without a network, or where the
database does not know the packages, the installed packages are compared with the lock instead. The last line
says which of the two happened. The exit code is 1 for a known weakness or a package that is not as locked,
never for want of a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from tools.environment import own_environment
from tools.installed import differences
from tools.lock import LOCK

_PIP_AUDIT: Final = "pip-audit==2.10.1"
_MOST_SECONDS: Final = 300


class NotAuditedError(Exception):
    """The database could not be asked about everything; the text says why."""


def weaknesses() -> list[str]:
    """A line for each known weakness of a locked version.

    Raises:
        NotAuditedError: there is no network, or the database did not know some packages.
    """
    try:
        python = own_environment("audit", _PIP_AUDIT)
        command = [python, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
        asked = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_MOST_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        raise NotAuditedError("pip-audit could not be installed or run") from None
    return read_report(asked.stdout)


def read_report(report: str) -> list[str]:
    """The weaknesses in a JSON report of pip-audit.

    Raises:
        NotAuditedError: it is none, or it leaves packages out and names no weakness in the others.
    """
    try:
        packages = json.loads(report)["dependencies"]
        found = [
            f"{package['name']} {package['version']}: {weakness['id']}, "
            f"mended in {', '.join(weakness['fix_versions']) or 'no version yet'}"
            for package in packages
            for weakness in package.get("vulns", [])
        ]
        left_out = sum("skip_reason" in package for package in packages)
    except (ValueError, KeyError, TypeError):
        raise NotAuditedError("the database of weaknesses could not be reached") from None
    if left_out and not found:
        raise NotAuditedError(f"the database does not know {left_out} of {len(packages)} packages")
    return found


def main() -> int:
    """Audit, and say how; the exit code."""
    try:
        found = weaknesses()
    except NotAuditedError as reason:
        found = differences(LOCK.read_text("utf-8"))
        how = f"audit: NOT asked for known weaknesses ({reason})."
        how += " The installed packages were compared with requirements.lock instead: "
        how += "every version and file is as it was installed." if not found else "they differ."
    else:
        how = "audit: pip-audit asked about every locked version: "
        how += "known weaknesses." if found else "no known weakness."
    for line in found:
        print(line)
    print(how)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
