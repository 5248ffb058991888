"""How variants that take turns are compared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.load import Measured, joined
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.turns import rate_ratio, take_turns, turn_figures, typical


def window(jobs: int, *, others: float = 0.0) -> Measured:
    """One second with so many jobs."""
    return Measured(
        length=Seconds(1.0),
        latencies=[Seconds(0.01)] * jobs,
        server_cpu=Seconds(0.5),
        generator_cpu=Seconds(0.1),
        others_cpu=Seconds(others),
    )


def playing(
    script: dict[str, list[Measured]], said: list[str]
) -> dict[str, Callable[[], Awaitable[Measured]]]:
    """Turns that give what the script says, and note whose turn it was."""

    def turn(name: str) -> Callable[[], Awaitable[Measured]]:
        async def play() -> Measured:
            said.append(name)
            return script[name].pop(0)

        return play

    return {name: turn(name) for name in script}


def test_turns_go_there_and_back() -> None:
    said: list[str] = []
    turns = playing({name: [window(10)] * 4 for name in "abc"}, said)
    asyncio.run(take_turns(turns, 2, Patience(0)))
    assert "".join(said) == "abccba" * 2


def test_what_rises_steadily_is_no_difference_between_variants() -> None:
    turns = playing({"a": [window(100), window(130)], "b": [window(110), window(120)]}, [])
    cycles = asyncio.run(take_turns(turns, 1, Patience(0)))
    assert rate_ratio(cycles, "b", "a").value == pytest.approx(1.0)


def test_a_disturbed_pair_is_measured_again_while_patience_lasts() -> None:
    disturbed = window(1, others=100.0)
    turns = playing({"a": [disturbed, disturbed, window(10), window(10), disturbed, disturbed]}, [])
    cycles = asyncio.run(take_turns(turns, 2, Patience(1)))
    assert [len(cycle["a"].latencies) for cycle in cycles] == [20, 2]


def test_joined_windows_are_like_one() -> None:
    both = joined([window(10), window(30)])
    assert (both.per_second, both.cpu_each) == (20.0, 1.0 / 40)


def test_half_and_double_weigh_the_same() -> None:
    assert typical([0.5, 2.0]).value == pytest.approx(1.0)


def test_only_the_middle_half_of_the_ratios_counts() -> None:
    assert typical([0.01, 0.9, 0.9, 50.0]).value == pytest.approx(0.9)


def test_the_error_shrinks_with_the_root_of_the_number_of_ratios() -> None:
    few, many = typical([0.9, 1.1] * 8), typical([0.9, 1.1] * 32)
    assert few.error / many.error == pytest.approx(2.0, rel=0.05)


def test_one_ratio_says_nothing_about_its_error() -> None:
    assert str(typical([0.9])) == "0.900 ± inf"


def test_no_ratios_have_no_typical_one() -> None:
    with pytest.raises(ValueError, match="no ratios"):
        typical([])


def test_a_target_is_judged_by_the_ratio_to_the_first_variant() -> None:
    cycles = [{"plain": window(100), "dear": window(89), "cheap": window(95)}] * 4
    figures = turn_figures(cycles, ["plain", "dear", "cheap"], {"dear": 0.9, "cheap": 0.9})
    assert [figure.met for figure in figures] == [None, False, True, None, None, None]
