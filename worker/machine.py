"""How busy this machine is."""

from __future__ import annotations

import msgspec
import psutil


class MachineLoad(msgspec.Struct, frozen=True):
    """Share of the machine in use, in percent from 0 to 100."""

    cpu_pct: float
    mem_pct: float


class MachineMeter:
    """Reads the load of this machine with psutil."""

    def __init__(self) -> None:
        # psutil measures between two calls; the first call only starts the measurement.
        psutil.cpu_percent(interval=None)

    def read(self) -> MachineLoad:
        """CPU load since the last reading, and memory in use now."""
        return MachineLoad(cpu_pct=psutil.cpu_percent(interval=None), mem_pct=psutil.virtual_memory().percent)
