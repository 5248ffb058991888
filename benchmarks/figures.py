"""A measured figure, its statistics, and the table that figures are shown in."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One row of the table.

    ``ratio`` sets the figure in relation to the baseline of the same run, because machines differ.
    ``met`` is None where there is no target.
    """

    name: str
    value: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not exceeded by this percentage of all values (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no percentile")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def median(values: Iterable[float]) -> float:
    """Middle of the rounds' values."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Lowest and highest of the rounds' values, for judging how steady a figure is."""
    digits = 0 if max(values) >= 100 else 2
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"


def milliseconds(seconds: float) -> str:
    """A latency for people."""
    return f"{seconds * 1000:,.2f} ms"


def table(figures: Iterable[Figure]) -> str:
    """Figures as a Markdown table, aligned so that it can be read as it is."""
    rows = [("figure", "value", "relative to the baseline", "target", "verdict")]
    rows += [(figure.name, figure.value, figure.ratio, figure.target, _verdict(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _verdict(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return "met" if figure.met else "**missed**"
