"""Types that carry their unit, and the two timestamp forms that the project uses.

Times are integer Unix milliseconds inside the program. On the wire, and in the columns that come from
the first schema, they are RFC 3339 text in UTC with milliseconds, such as ``2026-02-09T12:00:05.000Z``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType

DurationMs = NewType("DurationMs", int)
"""A length of time in milliseconds."""

UnixMs = NewType("UnixMs", int)
"""A point in time: milliseconds since 1970-01-01T00:00:00Z."""

MicroUsd = NewType("MicroUsd", int)
"""An amount of money: millionths of a US dollar."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_MS = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)


# A job's times are written several times over, to the disk, to the receipt and to the seeker.
@lru_cache(maxsize=4096)
def iso_from_unix_ms(at: UnixMs) -> str:
    """Render a time as ``YYYY-MM-DDTHH:MM:SS.mmmZ`` (RFC 3339, UTC).

    Raises:
        OverflowError: the time is outside the years 1 to 9999.
    """
    seconds, ms = divmod(at, 1000)
    return f"{_iso_second(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=4096)
def unix_ms_from_iso(text: str) -> UnixMs:
    """Read the form that :func:`iso_from_unix_ms` writes.

    Raises:
        ValueError: the text has another form or names no real time.
    """
    if not _ISO_MS.fullmatch(text):
        raise ValueError(f"not a UTC timestamp with milliseconds: {text!r}")
    return UnixMs(_second_from_iso(text[:19]) * 1000 + int(text[20:23]))


# Most timestamps that are handled at one moment share their second, and the calendar is the dear part.
@lru_cache(maxsize=256)
def _iso_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


@lru_cache(maxsize=256)
def _second_from_iso(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)


def format_usd(amount: MicroUsd) -> str:
    """Render money for people and for quotes: ``$0.010``, with as many more digits as it needs."""
    sign = "-" if amount < 0 else ""
    dollars, micros = divmod(abs(amount), 1_000_000)
    fraction = f"{micros:06d}"
    return f"{sign}${dollars}.{fraction[:3]}{fraction[3:].rstrip('0')}"
