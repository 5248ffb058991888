"""The part of the SQLite store that knows about API keys."""

from __future__ import annotations

from compute_router.protocol.units import UnixMs
from compute_router.storage import key_queries as queries
from compute_router.storage import rows
from compute_router.storage.keys import ApiKey, DayQuota, KeysStore
from compute_router.storage.session import Session


class SqliteKeys(KeysStore):
    """See :class:`~compute_router.storage.keys.KeysStore`."""

    _session: Session

    def put_api_key(self, key: ApiKey) -> None:
        self._session.change(
            queries.PUT_API_KEY,
            (
                key.key_id,
                key.key_hash,
                key.name,
                key.scope.value,
                key.user_id,
                key.jobs_per_minute,
                key.jobs_at_once,
                key.jobs_per_day,
                key.created_at,
            ),
        )

    def revoke_api_key(self, key_id: str, now: UnixMs) -> bool:
        return self._session.change(queries.REVOKE_API_KEY, (key_id, now))

    def api_keys(self) -> tuple[ApiKey, ...]:
        return tuple(map(rows.api_key, self._session.rows(queries.ALL_API_KEYS)))

    def count_key_job(self, quota: DayQuota) -> bool:
        jobs = self._session.change_returning(queries.COUNT_KEY_JOB, (quota.key_id, quota.day, quota.jobs))
        if jobs == 1:
            self._session.change_many(queries.FORGET_KEY_DAYS, (quota.key_id, quota.day))
        return jobs is not None
