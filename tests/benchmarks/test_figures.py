"""Statistics and tables of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figure, percentile, table
from benchmarks.profiling import summarize


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99) == 7.0


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_missed_target_stands_out_and_a_figure_without_target_has_no_verdict() -> None:
    lines = table(
        [
            Figure("jobs", "900 jobs/s", "0.134 x hello-world", "at least 0.164 x", met=False),
            Figure("failed", "0", target="0", met=True),
            Figure("memory", "9.0 KiB"),
        ]
    ).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["**missed**", "met", ""]


def test_a_profile_counts_a_recursive_function_once_in_a_stack() -> None:
    summary = summarize("main (a.py:1);walk (b.py:2);walk (b.py:2) 3\nmain (a.py:1) 1\n")
    own_by_file, own, with_calls = summary.split("\n\n")
    assert "75.0 %  b.py" in own_by_file
    assert "75.0 %  walk (b.py:2)" in own
    assert "100.0 %  main (a.py:1)" in with_calls
    assert "75.0 %  walk (b.py:2)" in with_calls
