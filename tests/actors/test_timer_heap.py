"""The heap of named deadlines."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from compute_router.actors.clock import SteadyMs
from compute_router.actors.timer_heap import TimerHeap

keys = st.sampled_from("abcde")
times = st.integers(0, 50)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), keys, times),
        st.tuples(st.just("cancel"), keys, st.just(0)),
        st.tuples(st.just("pop"), st.just(""), times),
    )
)


@given(operations)
def test_it_does_what_a_sorted_list_would_do(history: list[tuple[str, str, int]]) -> None:
    heap: TimerHeap[int] = TimerHeap()
    model: dict[str, tuple[int, int]] = {}
    for number, (operation, key, time) in enumerate(history):
        if operation == "set":
            heap.set(key, SteadyMs(time), number)
            model[key] = (time, number)
        elif operation == "cancel":
            heap.cancel(key)
            model.pop(key, None)
        else:
            due = sorted(entry for entry in model.values() if entry[0] <= time)
            assert heap.pop_due(SteadyMs(time)) == [item for _, item in due]
            model = {name: entry for name, entry in model.items() if entry not in due}
        assert len(heap) == len(model)
        assert heap.next_due() == min((due for due, _ in model.values()), default=None)


def test_deadlines_of_one_moment_come_in_the_order_in_which_they_were_set() -> None:
    heap: TimerHeap[str] = TimerHeap()
    for key in "cab":
        heap.set(key, SteadyMs(5), key)
    assert heap.pop_due(SteadyMs(5)) == ["c", "a", "b"]


def test_a_deadline_comes_up_once() -> None:
    heap: TimerHeap[str] = TimerHeap()
    heap.set("a", SteadyMs(5), "item")
    assert heap.pop_due(SteadyMs(4)) == []
    assert heap.pop_due(SteadyMs(5)) == ["item"]
    assert heap.pop_due(SteadyMs(99)) == []


def test_deadlines_that_are_replaced_or_cancelled_take_no_memory_for_ever() -> None:
    heap: TimerHeap[int] = TimerHeap()
    for number in range(50_000):
        heap.set("replaced", SteadyMs(1_000_000), number)
        heap.set(f"cancelled-{number}", SteadyMs(1_000_000), number)
        heap.cancel(f"cancelled-{number}")
    # Its size has no public sign but memory, so this looks inside.
    assert len(heap._heap) <= 1025
    assert heap.pop_due(SteadyMs(1_000_000)) == [49_999]
