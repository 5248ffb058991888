"""Where the coordinator's time goes under load: stack samples by py-spy, summed by function.

py-spy is a tool on the path (``pip install py-spy``), not a dependency of the project.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.load import load_jobs
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import Server, coordinator
from benchmarks.worker_pool import WorkerPool

_WORKERS: Final = 50
_SAMPLES_PER_SECOND: Final = 500
_ROWS: Final = 40
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>.*?)(:\d+)?\)$")


async def profile_throughput(scale: Scale) -> str:
    """Tables of the functions that cost the most, on their own and with what they call.

    Raises:
        BenchmarkError: py-spy is missing or failed.
    """
    async with coordinator() as server:
        pool = WorkerPool(server.port)
        await pool.connect(_WORKERS)
        stacks = await pool.guard(_sample_under_load(server, scale))
        await pool.close()
    return summarize(stacks)


def summarize(stacks: str) -> str:
    """Tables from py-spy's raw form: one stack a line, outermost frame first, then its number of samples."""
    own: Counter[str] = Counter()
    own_by_module: Counter[str] = Counter()
    with_calls: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        count = int(samples)
        own[frames[-1]] += count
        own_by_module[_module(frames[-1])] += count
        with_calls.update(dict.fromkeys(frames, count))
    total = own.total()
    return "\n".join(
        [
            *_section("Own time by file", own_by_module, total),
            *_section("Own time by function", own, total),
            *_section("Time with everything called", with_calls, total),
        ]
    )


async def _sample_under_load(server: Server, scale: Scale) -> str:
    # The load outlasts the sampling, or the end of the profile would show an idle coordinator.
    lasting = Seconds(2 * scale.window)
    async with asyncio.TaskGroup() as group:
        group.create_task(load_jobs(server, scale.warm_up, lasting, Patience(0)))
        await asyncio.sleep(scale.warm_up)
        return await _sample(server, scale.window)


async def _sample(server: Server, length: Seconds) -> str:
    program = _py_spy()
    with tempfile.TemporaryDirectory(prefix="compute-router-profile-") as directory:
        output = Path(directory) / "stacks"
        process = await asyncio.create_subprocess_exec(
            program,
            *("record", "--pid", str(server.pid), "--duration", str(round(length)), "--function"),
            *("--rate", str(_SAMPLES_PER_SECOND), "--format", "raw", "--output", str(output)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise BenchmarkError(f"py-spy failed: {said.decode(errors='replace')}")
        return output.read_text()


def _py_spy() -> str:
    beside_python = Path(sysconfig.get_path("scripts")) / "py-spy"
    program = str(beside_python) if beside_python.exists() else shutil.which("py-spy")
    if program is None:
        raise BenchmarkError(f"Profiling needs py-spy: {sys.executable} -m pip install py-spy")
    return program


def _module(frame: str) -> str:
    found = _FRAME.match(frame)
    return found["file"] if found else frame


def _section(title: str, samples: Counter[str], total: int) -> Iterable[str]:
    yield f"\n{title}"
    for name, count in samples.most_common(_ROWS):
        yield f"  {100 * count / total:5.1f} %  {name}"
