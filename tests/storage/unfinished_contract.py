"""What every store must tell a restart about unfinished jobs; part of the contract."""

from __future__ import annotations

import pytest

from compute_router.protocol.jobs import PrivacyClass
from compute_router.storage.interface import Store
from tests.storage.samples import DESKTOP, ERROR, LEASE_END, OUTPUT, PHONE, a_job, insert, later


class UnfinishedContract:
    """Whatever is unfinished is found again."""

    @pytest.mark.parametrize("recipients", [None, (PHONE,), (PHONE, DESKTOP)])
    def test_who_can_open_a_sealed_job_is_remembered(
        self, store: Store, recipients: tuple[str, ...] | None
    ) -> None:
        insert(store, a_job(privacy_class=PrivacyClass.PRIVATE, recipients=recipients))
        (job,) = store.unfinished_jobs()
        assert job.recipients == recipients

    def test_unfinished_jobs_come_in_the_order_of_commit(self, store: Store) -> None:
        names = ["zebra", "ant", "mule", "bee"]
        for number, name in enumerate(names):
            insert(store, a_job(name, created_at=later(-number)))
        with store.transaction():
            store.assign_job("mule", 1, DESKTOP, LEASE_END)
            store.assign_job("zebra", 1, PHONE, LEASE_END)
            store.start_job("zebra", 1)
        assert [job.job_id for job in store.unfinished_jobs()] == names

    def test_finished_jobs_are_not_among_the_unfinished(self, store: Store) -> None:
        insert(store, a_job("done"), a_job("open"), a_job("failed"))
        with store.transaction():
            store.assign_job("done", 1, DESKTOP, LEASE_END)
            store.complete_job("done", 1, DESKTOP, OUTPUT, later(1))
            store.fail_job("failed", 0, ERROR, later(1))
        assert [job.job_id for job in store.unfinished_jobs()] == ["open"]

    def test_a_job_that_changes_its_status_meanwhile_comes_once(self, store: Store) -> None:
        names = [f"job-{number}" for number in range(20)]
        insert(store, *(a_job(name) for name in names))
        seen = []
        with store.transaction():
            for job in store.unfinished_jobs():
                seen.append(job.job_id)
                store.assign_job(job.job_id, 1, DESKTOP, LEASE_END)
        assert seen == names

    def test_other_questions_may_be_asked_while_the_unfinished_are_gone_through(self, store: Store) -> None:
        insert(store, *(a_job(f"job-{number}") for number in range(3)))
        views = [store.job_view(job.job_id) for job in store.unfinished_jobs()]
        assert [view.job_id for view in views if view] == ["job-0", "job-1", "job-2"]

    def test_jobs_may_be_changed_while_the_unfinished_are_gone_through(self, store: Store) -> None:
        insert(store, *(a_job(f"job-{number}") for number in range(20)))
        seen = []
        with store.transaction():
            for job in store.unfinished_jobs():
                seen.append(job.job_id)
                store.fail_job(job.job_id, 0, ERROR, later(1))
        assert seen == [f"job-{number}" for number in range(20)]
        assert list(store.unfinished_jobs()) == []
