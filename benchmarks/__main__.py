"""``python -m benchmarks``: measure, print the table, and keep it in RESULTS.md after a full run."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Figure, table
from benchmarks.machine import facts
from benchmarks.measures.durability import durability
from benchmarks.measures.lone_job import lone_job
from benchmarks.measures.memory import memory
from benchmarks.measures.payments import payments
from benchmarks.measures.saturation import saturation
from benchmarks.measures.throughput import throughput
from benchmarks.measures.trust import trust
from benchmarks.profiling import profile_throughput
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.servers import ROOT

MEASURES: Final[dict[str, Callable[[Scale], Awaitable[list[Figure]]]]] = {
    "throughput": throughput,
    "latency": lone_job,
    "saturation": saturation,
    "memory": memory,
    "durability": durability,
    "trust": trust,
    "payments": payments,
}
RESULTS: Final = ROOT / "benchmarks" / "RESULTS.md"


def main(arguments: list[str] | None = None) -> int:
    """Run what the flags ask for. Exit code 1: no figure, because something misbehaved."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round with smaller pools")
    parser.add_argument("--only", choices=MEASURES, help="measure only this")
    parser.add_argument("--output", type=Path, help="file for the table (full run: benchmarks/RESULTS.md)")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="instead of measuring, show where the coordinator spends its time under load (needs py-spy)",
    )
    flags = parser.parse_args(arguments)
    if flags.profile and flags.only not in (None, "throughput"):
        parser.error("only throughput can be profiled")
    scale = QUICK if flags.quick else FULL
    try:
        if flags.profile:
            print(asyncio.run(profile_throughput(scale)))
            return 0
        report = asyncio.run(
            _measure(scale, [flags.only] if flags.only else list(MEASURES), quick=flags.quick)
        )
    except BenchmarkError as error:
        print(f"No figures: {error}", file=sys.stderr)
        return 1
    print(f"\n{report}")
    output = flags.output or (None if flags.quick or flags.only else RESULTS)
    if output:
        output.write_text(report)
    return 0


async def _measure(scale: Scale, names: list[str], *, quick: bool) -> str:
    lines = ["# Benchmark results", "", "What each figure means is in [README.md](README.md).", ""]
    lines += [f"- {fact}" for fact in facts()]
    if quick:
        lines.append("- Quick run: too short to quote.")
    figures = []
    for name in names:
        print(f"{name} ...", flush=True)
        figures += await MEASURES[name](scale)
    return "\n".join([*lines, "", table(figures), ""])


if __name__ == "__main__":
    sys.exit(main())
