from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk.money import micro_usd_from_text


@given(st.integers(min_value=0, max_value=10**15).map(MicroUsd))
def test_every_price_that_can_be_written_is_read_back(amount: MicroUsd) -> None:
    assert micro_usd_from_text(format_usd(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", "0.010", "$", "$1.", "$.5", "$-1", "$0.0000001", "$1e3", "$ 1", "$1\n", "$\u0661"]
)
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a price"):
        micro_usd_from_text(text)
