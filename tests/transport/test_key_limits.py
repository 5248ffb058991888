"""Limits of API keys: jobs per minute, at once, and per day; refused before anything is stored."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute_router.actors.clock import SystemClock
from compute_router.protocol.errors import JobsPerMinuteError
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import ApiKey, DayQuota
from compute_router.transport.authentication import AuthMode
from compute_router.transport.key_limits import JobRates, day_quota, day_used_up
from tests.fakes.clock import FakeClock
from tests.storage.samples import an_api_key
from tests.transport.accounts import Accounts, accounts, bearer, told
from tests.transport.harness import TASK, coordinator
from tests.transport.worker_client import worker

DAY_MS = 86_400_000
NOON = UnixMs(20_000 * DAY_MS + DAY_MS // 2)
PRIVATE = {"privacy_class": "PRIVATE"}


class CalendarClock(SystemClock):
    """The machine's clock, on a day of the test's choice."""

    def __init__(self) -> None:
        self.now = NOON

    def unix_ms(self) -> UnixMs:
        return self.now


async def keyed(office: Accounts, api_key: str, name: str, **changes: Any) -> httpx.Response:
    headers = bearer(api_key) | {"Idempotency-Key": name}
    return await office.router.http.post("/v1/jobs/commit/cheap", json=TASK | changes, headers=headers)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


# Per day


async def test_a_day_has_so_many_jobs_and_no_more_however_they_come(tmp_path: Path) -> None:
    async with accounts(tmp_path, clock=CalendarClock()) as office:
        alice = await office.make_key(jobs_per_day=3)
        answers = await asyncio.gather(*(office.commit(alice) for _ in range(20)))
        assert statuses(list(answers)) == [201] * 3 + [429] * 17
        refused = await office.commit(alice)
        assert told(refused) == (429, "jobs_per_day")
        assert refused.headers["retry-after"] == str(DAY_MS // 2 // 1000)
        assert office.router.count("jobs") == 3


async def test_the_next_day_begins_anew(tmp_path: Path) -> None:
    clock = CalendarClock()
    async with accounts(tmp_path, clock=clock) as office:
        alice = await office.make_key(jobs_per_day=1)
        assert [(await office.commit(alice)).status_code for _ in range(2)] == [201, 429]
        clock.now = UnixMs(NOON + DAY_MS // 2)
        assert [(await office.commit(alice)).status_code for _ in range(2)] == [201, 429]
        assert office.router.query("SELECT day, jobs FROM api_key_days") == [(20_001, 1)]


async def test_the_day_is_counted_over_a_restart_and_by_key(tmp_path: Path) -> None:
    async with accounts(tmp_path, clock=CalendarClock()) as office:
        alice, other = await office.make_key(jobs_per_day=1), await office.make_key(jobs_per_day=1)
        assert (await office.commit(alice)).status_code == 201
    async with coordinator(tmp_path, auth=AuthMode.KEYS, clock=CalendarClock()) as router:
        office = Accounts(router, office.admin)
        assert told(await office.commit(alice)) == (429, "jobs_per_day")
        assert (await office.commit(other)).status_code == 201


async def test_a_repeated_commit_counts_once_and_is_answered_after_the_last(tmp_path: Path) -> None:
    async with accounts(tmp_path, clock=CalendarClock()) as office:
        alice = await office.make_key(jobs_per_day=2)
        answers = await asyncio.gather(*(keyed(office, alice, "one") for _ in range(10)))
        assert statuses(list(answers)) == [201] * 10
        assert (await keyed(office, alice, "two")).status_code == 201
        assert told(await keyed(office, alice, "three")) == (429, "jobs_per_day")
        again = await keyed(office, alice, "one")
        assert again.json() == answers[0].json()
        assert told(await keyed(office, alice, "one", ttl_s=9)) == (409, "idempotency_conflict")
        assert office.router.query("SELECT jobs FROM api_key_days") == [(2,)]


async def test_a_refused_day_takes_no_place_in_the_queue_and_no_idempotency_key(tmp_path: Path) -> None:
    clock = CalendarClock()
    async with accounts(tmp_path, clock=clock) as office:
        alice = await office.make_key(jobs_per_day=1, jobs_at_once=2)
        await office.job_id(alice)
        for _ in range(5):
            assert told(await keyed(office, alice, "name")) == (429, "jobs_per_day")
        assert office.router.count("jobs WHERE idempotency_key IS NOT NULL") == 0
        clock.now = UnixMs(NOON + DAY_MS)
        assert (await keyed(office, alice, "name")).status_code == 201


async def test_one_who_is_refused_does_not_disturb_those_who_commit_with_him(tmp_path: Path) -> None:
    async with accounts(tmp_path, clock=CalendarClock()) as office:
        alice, bob = await office.make_key(jobs_per_day=1), await office.make_key("bob")
        await office.job_id(alice)
        commits = [office.commit(alice) for _ in range(20)]
        commits += [office.commit(bob, user_id="bob") for _ in range(20)]
        random.Random(7).shuffle(commits)
        answers = await asyncio.gather(*commits)
        assert statuses(list(answers)) == [201] * 20 + [429] * 20


# At once


async def test_so_many_jobs_may_be_unfinished_at_once(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office, worker(office.router.port) as client:
        alice = await office.make_key(jobs_at_once=2)
        first = await office.job_id(alice)
        await office.job_id(alice)
        refused = await office.commit(alice)
        assert (told(refused), refused.headers["retry-after"]) == ((429, "jobs_at_once"), "1")
        assert office.router.count("jobs") == 2
        await client.register(proven=True)
        await client.serve(first)
        assert (await office.commit(alice)).status_code == 201


async def test_a_burst_does_not_get_past_the_limit_at_once(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key(jobs_at_once=3)
        answers = await asyncio.gather(*(office.commit(alice) for _ in range(20)))
        assert statuses(list(answers)) == [201] * 3 + [429] * 17
        assert office.router.count("jobs") == 3


async def test_the_jobs_of_all_keys_of_a_user_count_together(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        free, limited = await office.make_key(), await office.make_key(jobs_at_once=1)
        bob = await office.make_key("bob", jobs_at_once=1)
        await office.job_id(free)
        assert told(await office.commit(limited)) == (429, "jobs_at_once")
        assert (await office.commit(bob, user_id="bob")).status_code == 201


async def test_a_repeated_commit_needs_no_room(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key(jobs_at_once=1)
        first = await keyed(office, alice, "one")
        assert (await keyed(office, alice, "one")).json() == first.json()
        assert told(await keyed(office, alice, "two")) == (429, "jobs_at_once")


# Per minute


async def test_a_minute_has_so_many_jobs(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key(jobs_per_minute=2)
        for _ in range(2):
            assert (await office.commit(alice)).status_code == 201
        refused = await office.commit(alice)
        assert told(refused) == (429, "jobs_per_minute")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert office.router.count("jobs") == 2
        assert (await office.commit(await office.make_key(jobs_per_minute=1))).status_code == 201


async def test_only_what_makes_a_job_uses_a_minute_up(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key(jobs_per_minute=2, jobs_at_once=1)
        for _ in range(5):
            assert told(await office.commit(alice, ttl_s=-1)) == (400, "invalid_request")
            assert told(await office.commit(alice, user_id="bob")) == (403, "forbidden")
        first = await keyed(office, alice, "one")
        assert first.status_code == 201
        for _ in range(5):
            assert (await keyed(office, alice, "one")).json() == first.json()
            assert told(await office.commit(alice)) == (429, "jobs_at_once")


async def test_an_admin_key_has_no_limits(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        answers = await asyncio.gather(*(office.commit(office.admin) for _ in range(50)))
        assert statuses(list(answers)) == [201] * 50


def a_key(jobs_per_minute: int | None, key_id: str = "alice0000000") -> ApiKey:
    return an_api_key(key_id, jobs_per_minute=jobs_per_minute)


def taken(rates: JobRates, key: ApiKey, times: int) -> int:
    """How many of so many jobs are let through."""
    count = 0
    for _ in range(times):
        try:
            rates.take(key)
        except JobsPerMinuteError:
            continue
        count += 1
    return count


def test_a_bucket_fills_evenly_and_holds_a_minutes_worth() -> None:
    clock = FakeClock()
    rates, key = JobRates(clock.steady_ms), a_key(6)
    assert taken(rates, key, 10) == 6
    clock.advance(9_999)
    assert taken(rates, key, 10) == 0
    clock.advance(1)
    assert taken(rates, key, 10) == 1
    clock.advance(3_600_000)
    assert taken(rates, key, 10) == 6


@pytest.mark.parametrize(("per_minute", "seconds"), [(1, 60), (6, 10), (7, 9), (60, 1), (6_000, 1)])
def test_the_refusal_says_when_the_next_job_may_come(per_minute: int, seconds: int) -> None:
    clock = FakeClock()
    rates, key = JobRates(clock.steady_ms), a_key(per_minute)
    assert taken(rates, key, per_minute) == per_minute
    with pytest.raises(JobsPerMinuteError) as refusal:
        rates.take(key)
    assert refusal.value.retry_after_s == seconds
    clock.advance(seconds * 1000)
    rates.take(key)


def test_what_is_given_back_can_be_taken_again_and_never_overfills() -> None:
    rates, key = JobRates(FakeClock().steady_ms), a_key(2)
    assert taken(rates, key, 2) == 2
    rates.give_back(key)
    assert taken(rates, key, 2) == 1
    for _ in range(5):
        rates.give_back(key)
    assert taken(rates, key, 5) == 2


def test_keys_without_a_limit_are_not_counted_and_others_each_by_itself() -> None:
    rates = JobRates(FakeClock().steady_ms)
    assert taken(rates, a_key(None), 1000) == 1000
    assert [taken(rates, a_key(1, name), 5) for name in ("one", "two")] == [1, 1]


def test_days_begin_at_midnight_in_utc() -> None:
    key = an_api_key(jobs_per_day=5)
    assert day_quota(an_api_key(), NOON) is None
    assert day_quota(key, UnixMs(DAY_MS - 1)) == DayQuota(key.key_id, 0, 5)
    assert day_quota(key, UnixMs(DAY_MS)) == DayQuota(key.key_id, 1, 5)
    assert day_used_up(key, UnixMs(DAY_MS)).retry_after_s == 86_400
    assert day_used_up(key, UnixMs(DAY_MS - 1)).retry_after_s == 1
