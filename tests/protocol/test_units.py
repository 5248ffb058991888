from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.units import (
    MicroUsd,
    UnixMs,
    format_usd,
    iso_from_unix_ms,
    unix_ms_from_iso,
)

YEAR_1 = -62_135_596_800_000
END_OF_YEAR_9999 = 253_402_300_799_999


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert iso_from_unix_ms(UnixMs(1_770_638_405_007)) == "2026-02-09T12:00:05.007Z"


def test_a_time_before_1970_is_written_right() -> None:
    assert iso_from_unix_ms(UnixMs(-1)) == "1969-12-31T23:59:59.999Z"


def test_a_year_always_has_four_digits() -> None:
    assert iso_from_unix_ms(UnixMs(YEAR_1)) == "0001-01-01T00:00:00.000Z"


@given(st.integers(YEAR_1, END_OF_YEAR_9999).map(UnixMs))
def test_reading_a_written_time_gives_the_same_time(at: UnixMs) -> None:
    assert unix_ms_from_iso(iso_from_unix_ms(at)) == at


@given(st.tuples(st.integers(YEAR_1, END_OF_YEAR_9999), st.integers(YEAR_1, END_OF_YEAR_9999)))
def test_written_times_sort_as_text_in_the_order_of_time(times: tuple[int, int]) -> None:
    first, second = sorted(times)
    assert iso_from_unix_ms(UnixMs(first)) <= iso_from_unix_ms(UnixMs(second))


@pytest.mark.parametrize("outside", [YEAR_1 - 1, END_OF_YEAR_9999 + 1, 10**30])
def test_a_time_that_the_form_cannot_hold_is_refused(outside: int) -> None:
    with pytest.raises(OverflowError):
        iso_from_unix_ms(UnixMs(outside))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-02-09",
        "2026-02-09T12:00:05Z",
        "2026-02-09T12:00:05.000",
        "2026-02-09T12:00:05.000+00:00",
        "2026-02-09T12:00:05.000000Z",
        "2026-02-09 12:00:05.000Z",
        "2026-02-30T12:00:05.000Z",
        "2026-02-09T25:00:00.000Z",
        "2026-02-09T12:00:05.000Z\n",
        "٢٠٢٦-02-09T12:00:05.000Z",
    ],
)
def test_a_time_of_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"timestamp|range|must be in"):
        unix_ms_from_iso(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.000"),
        (10_000, "$0.010"),
        (3_000, "$0.003"),
        (1_500, "$0.0015"),
        (1, "$0.000001"),
        (1_000_000, "$1.000"),
        (1_234_567_890, "$1234.56789"),
        (-5_000, "-$0.005"),
    ],
)
def test_money_is_written_with_three_digits_or_as_many_more_as_it_needs(amount: int, text: str) -> None:
    assert format_usd(MicroUsd(amount)) == text


@given(st.integers(-(10**15), 10**15).map(MicroUsd))
def test_written_money_says_the_exact_amount(amount: MicroUsd) -> None:
    sign, _, digits = format_usd(amount).partition("$")
    dollars, _, fraction = digits.partition(".")
    assert len(fraction) >= 3
    assert int(f"{sign}{dollars}{fraction.ljust(6, '0')}") == amount
