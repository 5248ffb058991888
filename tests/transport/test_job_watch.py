"""Who waits for which job."""

from __future__ import annotations

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import JobView
from compute_router.transport.job_watch import JobWatch

DONE = JobView(
    job_id="job",
    user_id="alice",
    status=JobStatus.COMPLETED,
    result=b"{}",
    created_at=UnixMs(1),
    completed_at=UnixMs(2),
)


async def test_all_who_wait_for_a_job_get_it_and_others_wait_on() -> None:
    watch = JobWatch()
    first, second, other = watch.watch("job"), watch.watch("job"), watch.watch("other")
    watch.publish(DONE)
    assert first.result() is second.result() is DONE
    assert not other.done()
    assert len(watch) == 1


async def test_who_stopped_to_wait_is_forgotten() -> None:
    watch = JobWatch()
    stays, leaves = watch.watch("job"), watch.watch("job")
    watch.unwatch("job", leaves)
    watch.unwatch("job", leaves)
    watch.publish(DONE)
    assert stays.done()
    assert not leaves.done()
    watch.unwatch("job", stays)
    assert len(watch) == 0


async def test_a_waiter_that_was_cancelled_is_passed_over() -> None:
    watch = JobWatch()
    cancelled, waits = watch.watch("job"), watch.watch("job")
    cancelled.cancel()
    watch.publish(DONE)
    assert waits.result() is DONE
    assert cancelled.cancelled()


async def test_the_end_of_the_coordinator_releases_everybody() -> None:
    watch = JobWatch()
    waiting = [watch.watch("a"), watch.watch("b")]
    watch.release_all()
    assert [future.result() for future in waiting] == [None, None]
    assert len(watch) == 0
