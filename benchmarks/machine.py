"""Facts about the machine and the software that figures were measured on."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

_PACKAGES: Final = ("tornado", "pykka", "apsw", "msgspec", "pynacl")
_CPU_INFO: Final = Path("/proc/cpuinfo")


def facts() -> list[str]:
    """One fact a line. The load tells whether something else was using the processors."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    memory_gib = psutil.virtual_memory().total / 2**30
    return [
        f"Measured: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"Processor: {_processor()}, {os.cpu_count()} cores; memory: {memory_gib:.0f} GiB",
        f"System: {platform.system()} {platform.release()}; Python {sys.version.split()[0]}; {packages}",
        f"Load average at the start: {os.getloadavg()[0]:.2f}",
    ]


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
