"""Bringing a stored job to where a test wants it."""

from __future__ import annotations

import pytest

from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobEvent, JobStatus, sources
from compute_router.storage.interface import IdempotencyKey, JobView, Store, UnfinishedJob
from tests.storage.samples import DESKTOP, ERROR, LEASE_END, OUTPUT, WINDOW_END, a_job, insert, later

HOUR = 3_600_000

AWKWARD_JSON = [
    pytest.param(b'{"a": 1.0e5, "b": 0.10, "c": -0}', id="numbers that encoders rewrite"),
    pytest.param(rb'{"a":"\u00e9\ud83d\ude00\/"}', id="escapes that encoders drop"),
    pytest.param(b' {\n\t"b" : 1,\r\n "a":2 } ', id="whitespace and order of keys"),
    pytest.param('{"a":"é😀\u2028"}'.encode(), id="text outside ASCII"),
    pytest.param(b'{"a":1,"a":2}', id="a key that is there twice"),
    pytest.param(rb'{"a":"\u0000"}', id="an escaped zero"),
    pytest.param(b'"' + b"x" * 1_048_000 + b'"', id="a megabyte"),
    pytest.param(b"12345678901234567890123", id="a bare number beyond 64 bits"),
    pytest.param(b"null", id="null"),
]


KEY = IdempotencyKey("order-7", "a" * 64)


def named(key: str) -> IdempotencyKey:
    return IdempotencyKey(key, "a" * 64)


def keep_keys(store: Store, *names: str) -> None:
    """Commit a job for each name, under a key of the same name, a millisecond apart."""
    with store.transaction():
        for number, name in enumerate(names):
            assert store.insert_job(a_job(name, created_at=later(number)), named(name)) is None


def keep_key_of_deleted_job(store: Store) -> None:
    """Commit a job under KEY at NOON, end it and delete it."""
    with store.transaction():
        store.insert_job(a_job(), KEY)
        store.fail_job("job-1", 0, ERROR, later(5))
        assert store.delete_finished(later(6), 10) == 1


def bring_to(store: Store, status: JobStatus, *, attempt: int = 1) -> None:
    """Bring a new ``job-1`` to a status, at an attempt by DESKTOP (a pending one: after it)."""
    insert(store, a_job())
    move_to(store, status, attempt=attempt)


def move_to(store: Store, status: JobStatus, *, attempt: int = 1) -> None:
    """As :func:`bring_to`, with a ``job-1`` that is there."""
    if attempt == 0:
        assert status is JobStatus.PENDING
        return
    with store.transaction():
        for number in range(1, attempt + 1):
            assert store.assign_job("job-1", number, DESKTOP, LEASE_END) is not None
            if number < attempt or status is JobStatus.PENDING:
                assert store.requeue_job(
                    "job-1", number, Failure.WORKER_BUSY, WINDOW_END, keep_tried=False, counts=False
                )
        if status is JobStatus.RUNNING:
            assert store.start_job("job-1", attempt)
        elif status is JobStatus.COMPLETED:
            assert store.complete_job("job-1", attempt, DESKTOP, OUTPUT, later(5)) is not None
        elif status is JobStatus.FAILED:
            assert store.fail_job("job-1", attempt, ERROR, later(5)) is not None
        elif status is JobStatus.CANCELLED:
            assert store.cancel_job("job-1", ERROR, later(5)) is not None


def step(store: Store, event: JobEvent, attempt: int) -> bool:
    """Try to move ``job-1``; whether it moved."""
    with store.transaction():
        match event:
            case JobEvent.CLAIM:
                return store.assign_job("job-1", attempt, DESKTOP, LEASE_END) is not None
            case JobEvent.START:
                return store.start_job("job-1", attempt)
            case JobEvent.REQUEUE:
                return requeue(store, attempt)
            case JobEvent.COMPLETE:
                return store.complete_job("job-1", attempt, DESKTOP, OUTPUT, later(9)) is not None
            case JobEvent.FAIL:
                return store.fail_job("job-1", attempt, ERROR, later(9)) is not None
            case JobEvent.CANCEL:
                return store.cancel_job("job-1", ERROR, later(9)) is not None


ALLOWED_STATUSES = [(event, status) for event in JobEvent for status in sources(event)]
REFUSED_STATUSES = [
    (event, status) for event in JobEvent for status in JobStatus if status not in sources(event)
]
# A cancel is about the job, whatever attempt is under way.
STEPS_OF_AN_ATTEMPT = [(event, status) for event, status in ALLOWED_STATUSES if event is not JobEvent.CANCEL]


def requeue(
    store: Store,
    attempt: int = 1,
    reason: Failure = Failure.WORKER_ERROR,
    *,
    keep_tried: bool = True,
    counts: bool = True,
) -> bool:
    """End an attempt at ``job-1``; inside a transaction."""
    return store.requeue_job("job-1", attempt, reason, WINDOW_END, keep_tried=keep_tried, counts=counts)


def only_unfinished(store: Store) -> UnfinishedJob:
    (job,) = store.unfinished_jobs()
    return job


def view(store: Store, job_id: str = "job-1") -> JobView:
    found = store.job_view(job_id)
    assert found is not None
    return found


def snapshot(store: Store) -> object:
    return list(store.unfinished_jobs()), store.job_view("job-1"), store.completed_by("job-1")
