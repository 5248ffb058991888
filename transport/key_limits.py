"""How many jobs an API key may make: by the minute here, by the day in the store, at once in the Matcher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from compute_router.actors.clock import SteadyMs
from compute_router.protocol.errors import JobsPerDayError, JobsPerMinuteError
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import ApiKey, DayQuota

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000


class _Bucket:
    """Holds a minute's worth of jobs when full, and fills at that rate."""

    __slots__ = ("at", "jobs")

    def __init__(self, jobs: float, at: SteadyMs) -> None:
        self.jobs = jobs
        self.at = at


class JobRates:
    """Jobs per minute of each key. Lives on the event loop only, and begins anew with the coordinator."""

    def __init__(self, now: Callable[[], SteadyMs]) -> None:
        self._now = now
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: ApiKey) -> None:
        """Count a job that is about to be made.

        Raises:
            JobsPerMinuteError: it is one too many; it says when the next may come.
        """
        most = key.jobs_per_minute
        if most is None:
            return
        now = self._now()
        bucket = self._buckets.get(key.key_id)
        if bucket is None:
            bucket = self._buckets[key.key_id] = _Bucket(float(most), now)
        bucket.jobs = min(bucket.jobs + (now - bucket.at) * most / _MINUTE_MS, float(most))
        bucket.at = now
        if bucket.jobs < 1:
            seconds = (1 - bucket.jobs) * _MINUTE_MS / most / 1000
            raise JobsPerMinuteError(
                f"This API key may make {most} jobs a minute; wait a little.", max(math.ceil(seconds), 1)
            )
        bucket.jobs -= 1

    def give_back(self, key: ApiKey) -> None:
        """The job was not made after all."""
        bucket = self._buckets.get(key.key_id)
        if bucket is not None and key.jobs_per_minute is not None:
            bucket.jobs = min(bucket.jobs + 1, float(key.jobs_per_minute))


def day_quota(key: ApiKey, now: UnixMs) -> DayQuota | None:
    """What the store has to count for a key; None when it has no daily limit."""
    return None if key.jobs_per_day is None else DayQuota(key.key_id, now // _DAY_MS, key.jobs_per_day)


def day_used_up(key: ApiKey, now: UnixMs) -> JobsPerDayError:
    """The refusal that says when the next day begins."""
    seconds = math.ceil((_DAY_MS - now % _DAY_MS) / 1000)
    return JobsPerDayError(
        f"This API key may make {key.jobs_per_day} jobs a day; the next day begins at midnight UTC.", seconds
    )
