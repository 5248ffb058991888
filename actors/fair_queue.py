"""A waiting line that is fair between users: each user's turn comes round, however many jobs one has."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items grouped by user; users take turns, and a user's own items keep their order.

    All operations take constant time, so a long line costs no more than a short one.
    """

    def __init__(self) -> None:
        self._by_user: OrderedDict[str, OrderedDict[str, T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def push(self, user_id: str, item_id: str, item: T) -> None:
        """Put an item behind the user's others."""
        items = self._by_user.get(user_id)
        if items is None:
            items = self._by_user[user_id] = OrderedDict()
        items[item_id] = item

    def push_first(self, user_id: str, item_id: str, item: T) -> None:
        """Put an item before the user's others: it waited for its turn once already."""
        self.push(user_id, item_id, item)
        self._by_user[user_id].move_to_end(item_id, last=False)

    def head(self) -> T | None:
        """The item whose turn it is, left in its place."""
        for items in self._by_user.values():
            for item in items.values():
                return item
        return None

    def take(self, user_id: str, item_id: str) -> None:
        """Remove an item that got its turn; the user goes behind all others."""
        self.remove(user_id, item_id)
        self.pass_turn(user_id)

    def pass_turn(self, user_id: str) -> None:
        """Let all other users go first; a user without items here has no turn to pass."""
        if user_id in self._by_user:
            self._by_user.move_to_end(user_id)

    def remove(self, user_id: str, item_id: str) -> None:
        """Remove an item without using up the user's turn.

        Raises:
            KeyError: the item is not here.
        """
        items = self._by_user[user_id]
        del items[item_id]
        if not items:
            del self._by_user[user_id]
