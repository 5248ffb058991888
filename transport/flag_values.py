"""What command line flags hold, read and checked. Each reader raises ``argparse.ArgumentTypeError``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_likeness import refuse_key_for_path
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.protocol.web_url import is_web_url


def choice(kind: type[Enum]) -> Callable[[str], Enum]:
    """A reader of one member of ``kind``, in capitals or not."""

    def read(text: str) -> Enum:
        try:
            return kind(text.lower())
        except ValueError:
            choices = " or ".join(str(member.value) for member in kind)
            raise argparse.ArgumentTypeError(f"{text!r} is not {choices}") from None

    return read


def key_file(text: str) -> Path:
    """The path of a file with a key. A key in its place is not quoted in the error."""
    path = Path(text)
    try:
        refuse_key_for_path(path)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def url_file(text: str) -> Path:
    """The path of a file with a URL. A URL in its place may hold a secret and is not quoted in the error."""
    if "://" in text:
        raise argparse.ArgumentTypeError("this is a URL and not a file that has it in its only line")
    return Path(text)


def yes_or_no(text: str) -> bool:
    """yes, true or 1; no, false or 0."""
    answers = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return answers[text.lower()]


def port(text: str) -> int:
    """A TCP port; 0 stands for any free one."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def whole(unit: str, most: int = 1 << 30) -> Callable[[str], int]:
    """A reader of a whole number from 1 to ``most``; ``unit`` says in the error what is counted."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and 0 < int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} from 1 to {most}")
        return int(text)

    return read


positive = whole("bytes")
count = whole("things at once")


def duration(text: str, unit: str, unit_ms: int, most: float, *, zero: bool = False) -> DurationMs:
    """A number of ``unit``, each ``unit_ms`` long, up to ``most`` of them; ``zero`` allows none."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 < number <= most or (zero and number == 0)):
        least = "from 0" if zero else "above 0"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} {least} to {most:g}")
    return DurationMs(round(number * unit_ms))


seconds = partial(duration, unit="seconds", unit_ms=1000, most=86_400)
pause = partial(duration, unit="seconds", unit_ms=1000, most=86_400, zero=True)


def days(text: str) -> DurationMs:
    """How long finished jobs are kept, at least a day."""
    keep = duration(text, unit="days", unit_ms=86_400_000, most=36_500)
    if keep < 86_400_000:
        # Idempotency keys are promised for a day, and a key must not outlive its job.
        raise argparse.ArgumentTypeError(f"{text!r} is less than one day")
    return keep


def share(text: str) -> float:
    """A part of a whole, 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def url(text: str) -> str:
    """An http or https URL. It is not quoted in the error, for it may hold a secret."""
    if not is_web_url(text):
        raise argparse.ArgumentTypeError("this is not a URL such as https://host or http://host:8000/path")
    return text


def basis_points(text: str) -> int:
    """Hundredths of a percent, 0 to 10000."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of basis points from 0 to 10000")
    return int(text)


def dollars(text: str) -> MicroUsd:
    """Dollars with at most six decimals, read without floats."""
    before, _, after = text.partition(".")
    digits = before + after
    if not (digits.isascii() and digits.isdigit() and before and len(before) <= 9 and len(after) <= 6):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dollars with at most 6 decimals")
    return MicroUsd(int(before) * 1_000_000 + int(after.ljust(6, "0")))


def price(text: str) -> MicroUsd:
    """Dollars above zero, as :func:`dollars`; a dollar sign may stand before them."""
    amount = dollars(text.removeprefix("$"))
    if amount == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 dollars")
    return amount


def log_level(text: str) -> str:
    """A level by the name that ``logging`` has for it."""
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise argparse.ArgumentTypeError(f"{text!r} is not debug, info, warning or error")
    return level


def origins(text: str) -> tuple[str, ...]:
    """Browser origins (RFC 6454), by commas; ``*`` is all."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in parts:
        if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
            raise argparse.ArgumentTypeError(f"{origin!r} is not an origin such as https://example.org")
    return parts
