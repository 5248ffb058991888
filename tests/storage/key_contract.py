"""What every store must do with API keys; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.protocol.api_keys import KeyScope
from compute_router.storage.interface import ApiKey, DayQuota, Store
from tests.storage.samples import an_api_key, later

ADMIN = an_api_key("admin0000000", scope=KeyScope.ADMIN, user_id=None, created_at=later(1))
TODAY = 20_000


def keep(store: Store, *keys: ApiKey) -> None:
    with store.transaction():
        for key in keys:
            store.put_api_key(key)


def count(store: Store, times: int, *, key_id: str = "alice0000000", day: int = TODAY, jobs: int = 3) -> int:
    """Try to count so many jobs, each in a transaction of its own; how many were counted."""
    counted = 0
    for _ in range(times):
        with store.transaction():
            counted += store.count_key_job(DayQuota(key_id, day, jobs))
    return counted


class ApiKeyContract:
    """API keys are kept until they are revoked, and their jobs are counted by days."""

    constraint_error: ClassVar[type[Exception]]

    def test_keys_are_listed_oldest_first_as_they_were_made(self, store: Store) -> None:
        limited = an_api_key(jobs_per_minute=1, jobs_at_once=2, jobs_per_day=3, name="Alice's phone")
        keep(store, ADMIN, limited)
        assert store.api_keys() == (limited, ADMIN)

    def test_a_key_id_can_be_used_once_only(self, store: Store) -> None:
        keep(store, an_api_key())
        with pytest.raises(self.constraint_error):
            keep(store, an_api_key(user_id="mallory"))
        assert store.api_keys() == (an_api_key(),)

    def test_a_revoked_key_stays_and_says_since_when(self, store: Store) -> None:
        keep(store, an_api_key())
        with store.transaction():
            assert store.revoke_api_key("alice0000000", later(9))
            assert not store.revoke_api_key("alice0000000", later(10))
        assert store.api_keys() == (an_api_key(revoked_at=later(9)),)

    def test_an_unknown_key_cannot_be_revoked(self, store: Store) -> None:
        with store.transaction():
            assert not store.revoke_api_key("alice0000000", later(9))

    def test_a_key_may_make_so_many_jobs_on_a_day_and_no_more(self, store: Store) -> None:
        keep(store, an_api_key())
        assert count(store, 5) == 3

    def test_each_key_is_counted_by_itself(self, store: Store) -> None:
        keep(store, an_api_key(), an_api_key("other0000000"))
        assert (count(store, 5), count(store, 5, key_id="other0000000")) == (3, 3)

    def test_a_new_day_begins_at_nothing(self, store: Store) -> None:
        keep(store, an_api_key())
        assert count(store, 5) == 3
        assert count(store, 5, day=TODAY + 1) == 3
        assert count(store, 5, day=TODAY + 1) == 0

    def test_a_count_that_is_undone_was_not_counted(self, store: Store) -> None:
        keep(store, an_api_key())

        def count_and_fail() -> None:
            with store.transaction():
                store.count_key_job(DayQuota("alice0000000", TODAY, 3))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            count_and_fail()
        assert count(store, 5) == 3

    def test_the_jobs_of_a_key_that_is_not_there_cannot_be_counted(self, store: Store) -> None:
        with pytest.raises(self.constraint_error):
            count(store, 1)

    def test_changes_of_keys_need_a_transaction(self, store: Store) -> None:
        for change in (
            lambda: store.put_api_key(an_api_key()),
            lambda: store.revoke_api_key("alice0000000", later(1)),
            lambda: store.count_key_job(DayQuota("alice0000000", TODAY, 3)),
        ):
            with pytest.raises(RuntimeError):
                change()
