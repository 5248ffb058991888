"""The waiting line that is fair between users."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from compute_router.actors.fair_queue import FairQueue

users = st.sampled_from(["alice", "bob", "carol"])


def drained(queue: FairQueue[str], owner: dict[str, str]) -> list[str]:
    """Everything in the order in which it gets its turn."""
    order = []
    while (item := queue.head()) is not None:
        queue.take(owner[item], item)
        order.append(item)
    return order


@given(st.lists(users))
def test_a_users_items_keep_their_order_and_none_is_lost(pushes: list[str]) -> None:
    queue: FairQueue[str] = FairQueue()
    owner = {f"{user}-{number}": user for number, user in enumerate(pushes)}
    for item, user in owner.items():
        queue.push(user, item, item)
    order = drained(queue, owner)
    assert sorted(order) == sorted(owner)
    for user in set(pushes):
        mine = [item for item in order if owner[item] == user]
        assert mine == [item for item in owner if owner[item] == user]
    assert not queue


@given(st.lists(users, min_size=1))
def test_every_user_is_served_within_as_many_turns_as_there_are_users(pushes: list[str]) -> None:
    queue: FairQueue[str] = FairQueue()
    owner = {f"{user}-{number}": user for number, user in enumerate(pushes)}
    for item, user in owner.items():
        queue.push(user, item, item)
    order = [owner[item] for item in drained(queue, owner)]
    for user in set(pushes):
        turns = [index for index, whose in enumerate(order) if whose == user]
        waits = [later - earlier for earlier, later in zip([-1, *turns], turns, strict=False)]
        assert max(waits) <= len(set(pushes))


def test_users_who_came_first_are_served_first() -> None:
    queue: FairQueue[str] = FairQueue()
    owner = {"a1": "alice", "a2": "alice", "b1": "bob", "c1": "carol", "b2": "bob"}
    for item, user in owner.items():
        queue.push(user, item, item)
    assert drained(queue, owner) == ["a1", "b1", "c1", "a2", "b2"]


def test_an_item_that_waited_its_turn_before_goes_before_its_users_others_only() -> None:
    queue: FairQueue[str] = FairQueue()
    owner = {"a1": "alice", "b1": "bob", "b0": "bob"}
    queue.push("alice", "a1", "a1")
    queue.push("bob", "b1", "b1")
    queue.push_first("bob", "b0", "b0")
    assert drained(queue, owner) == ["a1", "b0", "b1"]


def test_an_item_that_is_removed_uses_up_no_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    owner = {"a1": "alice", "a2": "alice", "b1": "bob"}
    for item, user in owner.items():
        queue.push(user, item, item)
    queue.remove("alice", "a1")
    assert drained(queue, owner) == ["a2", "b1"]


def test_an_unknown_item_cannot_be_removed() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("alice", "a1", "a1")
    for user, item in (("alice", "other"), ("bob", "a1")):
        with pytest.raises(KeyError):
            queue.remove(user, item)
    assert queue.head() == "a1"


def test_an_empty_queue_has_no_head() -> None:
    queue: FairQueue[str] = FairQueue()
    assert not queue
    assert queue.head() is None
