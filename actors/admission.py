"""How many unfinished jobs there may be, for each user and in all. Decided before anything is stored."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from compute_router.actors.policy import MatchingPolicy


class Refusal(Enum):
    """Why no job can be taken now."""

    DRAINING = "draining"
    KEY_QUEUE_FULL = "key_queue_full"
    USER_QUEUE_FULL = "user_queue_full"
    QUEUE_FULL = "queue_full"


class Admission:
    """Counts jobs from the moment a place is reserved for them until they end.

    A job is reserved first, then stored, then enters; so the bound holds however many are stored at once.
    """

    def __init__(self, policy: MatchingPolicy) -> None:
        self._policy = policy
        self._by_user: Counter[str] = Counter()
        self._total = 0
        self.draining = False

    def reserve(self, user_id: str, at_once: int | None = None) -> Refusal | None:
        """Take a place for one more job of this user, or say why there is none.

        ``at_once`` is the limit of the API key that asks, or None.
        """
        if self.draining:
            return Refusal.DRAINING
        if at_once is not None and self._by_user[user_id] >= at_once:
            return Refusal.KEY_QUEUE_FULL
        if self._by_user[user_id] >= self._policy.max_jobs_per_user:
            return Refusal.USER_QUEUE_FULL
        if self._total >= self._policy.max_jobs:
            return Refusal.QUEUE_FULL
        self.enter(user_id)
        return None

    def enter(self, user_id: str) -> None:
        """Count a job whether there is a place or not: it was acknowledged in an earlier run."""
        self._by_user[user_id] += 1
        self._total += 1

    def leave(self, user_id: str) -> None:
        """Give a place back."""
        self._total -= 1
        self._by_user[user_id] -= 1
        if not self._by_user[user_id]:
            del self._by_user[user_id]

    def __len__(self) -> int:
        return self._total
