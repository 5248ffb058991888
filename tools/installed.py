"""Whether what is installed here is what the lock names, file by file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    PackagePath,
    distribution,
    distributions,
)
from typing import Any, TypeAlias

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Noted: TypeAlias = Mapping[Any, set[str]]

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
# The project itself, and what came with the environment.
_NOT_LOCKED = {"compute-router", "pip"}


def differences(lock: str) -> list[str]:
    """A line for each package that is missing, of another version, changed since, or not locked."""
    locked = dict(read_lock(lock))
    found = []
    noted = noted_hashes(distributions())
    for name, version in locked.items():
        try:
            package = distribution(name)
        except PackageNotFoundError:
            found.append(f"{name} {version} is locked and not installed")
            continue
        if package.version != version:
            found.append(f"{name} is installed as {package.version} and locked as {version}")
        found.extend(
            f"{name}: {path} was changed after it was installed" for path in changed_files(package, noted)
        )
    names = {canonicalize_name(package.metadata["Name"]) for package in distributions()}
    found.extend(f"{name} is installed and not locked" for name in sorted(names - set(locked) - _NOT_LOCKED))
    return found


def read_lock(lock: str) -> list[tuple[str, str]]:
    """Names and versions in the lock that apply to this Python and machine.

    Raises:
        ValueError: an entry has no version or no hash.
    """
    entries: list[tuple[str, str]] = []
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        if entry.startswith("#"):
            continue
        requirement = Requirement(entry.partition("--hash")[0].replace("\\", "").strip())
        (pin,) = requirement.specifier
        if pin.operator != "==" or not _HASH.search(entry):
            raise ValueError(f"{requirement.name} is not pinned with a hash")
        if requirement.marker is None or requirement.marker.evaluate():
            entries.append((canonicalize_name(requirement.name), pin.version))
    return entries


def noted_hashes(packages: Iterable[Distribution]) -> Noted:
    """The hashes that were noted for each file when packages were installed.

    They can be several, because packages may bring a file of the same name, such as ``docs/conf.py``. The
    one that was installed last is there.
    """
    noted: defaultdict[Any, set[str]] = defaultdict(set)
    for package in packages:
        for path, digest in _noted(package):
            noted[path.locate()].add(digest)
    return noted


def changed_files(package: Distribution, noted: Noted) -> list[str]:
    """The package's files that have none of the hashes that were noted for them."""
    return [str(path) for path, _ in _noted(package) if _digest(path) not in noted[path.locate()]]


def _noted(package: Distribution) -> Iterator[tuple[PackagePath, str]]:
    for path in package.files or []:
        if path.hash is not None and path.hash.mode == "sha256":
            yield path, path.hash.value


def _digest(path: PackagePath) -> str | None:
    try:
        digest = hashlib.sha256(path.read_binary()).digest()
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
