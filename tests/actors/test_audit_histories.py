"""Random histories of a market with cheats in it: whatever happens, no honest worker is ever barred.

The invariants of the Matcher are checked after every event by :class:`Matching`.
"""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import FINAL
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import TASKS_V1, JobComplete, JobFailed, JobReject
from tests.actors.matching import Matching
from tests.actors.samples import TASK, a_job, busy, completion, failed, key, reject

HONEST = [key(digit) for digit in "abc"]
CHEATS = [key(digit) for digit in "def"]
ALL_AUDITED = MatchingPolicy(audit_share=1.0, audit_newcomer_jobs=0, max_open_audits=4)


class AuditedMarket(RuleBasedStateMachine):
    """Cheats lie now and then, each in its own way; all workers come, go and refuse as they like."""

    seen: tuple[int, int] = (0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.market = Matching(ALL_AUDITED, prompt_store=False)
        self.market.records_loaded = 2
        self.serial = itertools.count(1)
        for pubkey in (*HONEST, *CHEATS):
            self._connect(pubkey)

    def _connect(self, pubkey: str) -> None:
        number = next(self.serial)
        kind = ProviderType.DESKTOP if number % 2 else ProviderType.SEEKER
        self.market.online(number, pubkey, kind, can=(TASK,), features=(TASKS_V1,))

    @rule(count=st.integers(1, 3))
    def submit(self, count: int) -> None:
        self.market.submit(*(a_job(f"job-{next(self.serial)}") for _ in range(count)))

    @rule()
    def the_store_answers(self) -> None:
        self.market.store_answers()

    @rule(lies=st.sampled_from([True, True, False]), rounds=st.integers(2, 6))
    def all_deliver(self, lies: bool, rounds: int) -> None:
        for _ in range(rounds):
            self._deliver(lies=lies)

    def _deliver(self, *, lies: bool) -> None:
        self.market.store_answers()
        for job_id, worker_id, pubkey in self._held():
            lying = lies and pubkey in CHEATS
            output = f'{{"summary":"by {pubkey[0]}"}}'.encode() if lying else b'{"summary":"true"}'
            self.market.says(worker_id, completion(job_id, output=output))
        self.market.store_answers()

    @precondition(lambda self: self._held())
    @rule(which=st.integers(0, 9), what=st.integers(0, 3))
    def one_does_not_deliver(self, which: int, what: int) -> None:
        held = self._held()
        job_id, worker_id, _ = held[which % len(held)]
        attempt = self.market.path[job_id][1]
        wrong = completion(job_id, output_hash="0" * 64)
        frames: list[JobReject | JobFailed | JobComplete] = [
            reject(job_id),
            busy(job_id),
            failed(job_id, attempt),
            wrong,
        ]
        self.market.says(worker_id, frames[what])

    @rule(pubkey=st.sampled_from([*HONEST, *CHEATS]))
    def come_or_go(self, pubkey: str) -> None:
        here = [worker.worker_id for worker in self.market.workers.values() if worker.pubkey == pubkey]
        if here:
            self.market.offline(here[0])
        elif pubkey not in self.market.barred:
            self._connect(pubkey)

    @rule(ms=st.sampled_from([1, 500, 2_500, 30_000, 70_000]))
    def let_time_pass(self, ms: int) -> None:
        self.market.advance(ms)
        self.market.place_audits()

    @rule()
    def flush_records(self) -> None:
        self.market.flush_records()

    @rule(luck=st.integers(0, 7))
    def restart(self, luck: int) -> None:
        if luck == 7:
            self.market.restart()
            for pubkey in (*HONEST, *CHEATS):
                if pubkey not in self.market.barred:
                    self._connect(pubkey)

    def _held(self) -> list[tuple[str, int, str]]:
        return [
            (job.job_id, job.worker_id, job.worker_pubkey or "")
            for job in self.market.core.jobs
            if job.worker_id is not None and job.sent
        ]

    def teardown(self) -> None:
        assert not set(self.market.barred) & set(HONEST), "an honest worker was barred"
        for pubkey in self.market.barred:
            record = self.market.store.worker_record(pubkey)
            assert self.market.store_queue or (record is not None and record.barred_at is not None)
        for worker_id in list(self.market.workers):
            self.market.offline(worker_id)
        for _ in range(4):
            self.market.store_answers()
            self.market.advance(700_000)
        assert not list(self.market.core.jobs), "a job never ended"
        for job_id in self.market.audits:
            assert self.market.status(job_id) in FINAL
        audits, barred = type(self).seen
        type(self).seen = (audits + len(self.market.audits), barred + len(self.market.barred))


def test_no_history_has_an_honest_worker_barred() -> None:
    AuditedMarket.seen = (0, 0)
    run_state_machine_as_test(
        AuditedMarket, settings=settings(max_examples=150, stateful_step_count=50, phases=[Phase.generate])
    )
    audits, barred = AuditedMarket.seen
    assert audits > 100, "hardly any history had an audit, so this shows nothing"
    assert barred > 5, "hardly any history had a cheat found out, so this shows nothing"
