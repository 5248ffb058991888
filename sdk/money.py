"""Prices as quotes write them."""

from __future__ import annotations

import re

from compute_router.protocol.units import MicroUsd

_USD = re.compile(r"\$(\d{1,12})(?:\.(\d{1,6}))?", re.ASCII)


def micro_usd_from_text(text: str) -> MicroUsd:
    """Read a price such as ``$0.010``.

    Raises:
        ValueError: the text is no dollar amount, or is finer than a millionth of a dollar.
    """
    match = _USD.fullmatch(text)
    if match is None:
        raise ValueError(f"not a price in US dollars: {text!r}")
    dollars, fraction = match.groups(default="")
    return MicroUsd(int(dollars) * 1_000_000 + int(fraction.ljust(6, "0")))
