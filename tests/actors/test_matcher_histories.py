"""Random histories of a market: whatever happens, in whatever order, the Matcher keeps its promises.

The invariants are checked after every event by :class:`Matching`; the machine here only makes things
happen. In the end all workers leave, and every job must come to an end by itself; of what was published
nothing may differ from what is stored, and nothing may be held for anybody any more.
"""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.jobs import JobType, ProviderType, Tier
from compute_router.protocol.messages import (
    SEALED_V1,
    TASKS_V1,
    JobChunk,
    JobComplete,
    JobFailed,
    JobReject,
    JobStarted,
)
from compute_router.storage.interface import NewJob
from tests.actors.matching import Matching
from tests.actors.samples import a_job, busy, chunk, completion, failed, key, reject, started

KEYS = [key(digit) for digit in "abcd"]
USERS = ["alice", "bob", "carol"]
MODELS = ["llama", "qwen"]

BOTH = (JobType.LLM_INFER, JobType.TASK)
FEW_PLACES = MatchingPolicy(
    max_jobs_per_user=12, max_jobs=30, audit_share=0.5, audit_newcomer_jobs=0, max_open_audits=4
)
A_DAY = 86_400_000

abilities = st.sampled_from([BOTH, BOTH, (JobType.TASK,), (JobType.LLM_INFER,)])
models = st.lists(st.sampled_from(MODELS), unique=True).map(tuple)


class Market(RuleBasedStateMachine):
    """Seekers, workers, time, the store and the operator, each doing what it likes."""

    worker_ids = Bundle("worker_ids")

    def __init__(self) -> None:
        super().__init__()
        self.market = Matching(FEW_PLACES, prompt_store=False)
        self.job_ids = [f"job-{number}" for number in range(60)]
        self.submitted: list[str] = []
        self.reserved: list[NewJob] = []
        self.announced: dict[str, JobStatus] = {}
        self.serial = itertools.count(1)

    @initialize(
        prompt=st.booleans(),
        trusted=st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(KEYS))),
        workers=st.lists(st.tuples(st.sampled_from(ProviderType), st.booleans()), max_size=4),
    )
    def begin(
        self, prompt: bool, trusted: set[tuple[str, str]], workers: list[tuple[ProviderType, bool]]
    ) -> None:
        self.market.prompt_store = prompt
        for user, pubkey in sorted(trusted):
            self.market.grant_trust(user, pubkey)
        # Fewer than there are keys, so that some are found on disk when they come back.
        self.market.records_loaded = 2
        for pubkey, (kind, proven) in zip(KEYS, workers, strict=False):
            self.market.online(
                next(self.serial), pubkey, kind, models=("llama",), proven=proven, features=(TASKS_V1,)
            )

    # Seekers

    @precondition(lambda self: self.job_ids)
    @rule(
        user=st.sampled_from(USERS),
        job_type=st.sampled_from(JobType),
        tier=st.sampled_from(Tier),
        private=st.sampled_from([False, False, True]),
        sealed_to=st.sampled_from([None, None, None, (KEYS[0],), (KEYS[1], KEYS[2])]),
        model=st.sampled_from([None, None, *MODELS]),
        window=st.sampled_from([30_000, 30_000, 1, 2_000, 120_000]),
        run_limit=st.sampled_from([None, None, 1, 5_000, 60_000]),
        burst=st.integers(1, 4),
        at_once=st.sampled_from([True, True, False]),
    )
    def submit(
        self,
        user: str,
        job_type: JobType,
        tier: Tier,
        private: bool,
        sealed_to: tuple[str, ...] | None,
        model: str | None,
        window: int,
        run_limit: int | None,
        burst: int,
        at_once: bool,
    ) -> None:
        for _ in range(min(burst, len(self.job_ids))):
            if self.market.reserve(user) is not None:
                return
            job = a_job(
                self.job_ids.pop(0),
                user=user,
                job_type=job_type,
                tier=tier,
                private=private,
                model=model if job_type is JobType.LLM_INFER else None,
                window=window,
                run_limit=run_limit,
                sealed_to=sealed_to,
            )
            self.reserved.append(job)
            if at_once:
                self.store_a_reserved_job()

    @precondition(lambda self: self.reserved)
    @rule()
    def store_a_reserved_job(self) -> None:
        job = self.reserved.pop()
        if self.market.outage:
            self.market.give_back(job.user_id)
        else:
            self.submitted.append(job.job_id)
            self.market.commit(job)

    @precondition(lambda self: self.submitted)
    @rule(which=st.integers(0, 59), recent=st.booleans())
    def cancel(self, which: int, recent: bool) -> None:
        number = -1 - which % min(4, len(self.submitted)) if recent else which % len(self.submitted)
        job_id = self.submitted[number]
        unfinished = self.market.core.is_live(job_id)
        assert self.market.cancel(job_id) is unfinished

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def cancel_a_running_job(self, which: int) -> None:
        job_id = self.held[which % len(self.held)][0]
        assert self.market.cancel(job_id) == (job_id not in self.market.audits)

    @rule(user=st.sampled_from(USERS), pubkey=st.sampled_from(KEYS))
    def grant_trust(self, user: str, pubkey: str) -> None:
        self.market.grant_trust(user, pubkey)

    @rule(user=st.sampled_from(USERS), pubkey=st.sampled_from(KEYS))
    def revoke_trust(self, user: str, pubkey: str) -> None:
        self.market.revoke_trust(user, pubkey)

    # Workers

    @rule(
        target=worker_ids,
        pubkey=st.sampled_from(KEYS),
        kind=st.sampled_from(ProviderType),
        can=abilities,
        names=models,
        slots=st.integers(1, 3),
        proven=st.booleans(),
        settled=st.booleans(),
        seals=st.booleans(),
        still_holds=st.integers(0, 15),
    )
    def connect(
        self,
        pubkey: str,
        kind: ProviderType,
        can: tuple[JobType, ...],
        names: tuple[str, ...],
        slots: int,
        proven: bool,
        settled: bool,
        seals: bool,
        still_holds: int,
    ) -> int:
        worker_id = next(self.serial)
        held: list[tuple[str, int]] = []
        if proven:
            # As the registry has it: a proven key has one connection, the newest.
            for other in [w for w in self.market.workers.values() if w.proven and w.pubkey == pubkey]:
                self.market.offline(other.worker_id)
            away = [
                job
                for job in self.market.core.jobs
                if job.worker_id is None and job.sent and job.worker_pubkey == pubkey
            ]
            held = [(job.job_id, job.attempt) for bit, job in enumerate(away) if still_holds >> bit & 1]
        self.market.online(
            worker_id,
            pubkey,
            kind,
            can=can,
            models=names,
            slots=max(slots, len(held)),
            proven=proven,
            held=tuple(held),
            settled=settled,
            features=(SEALED_V1, TASKS_V1) if seals else (TASKS_V1,),
        )
        return worker_id

    @rule(
        worker_id=worker_ids,
        can=abilities,
        names=models,
        more_slots=st.integers(0, 2),
        proven=st.booleans(),
        seals=st.booleans(),
        other_key=st.one_of(st.none(), st.sampled_from(KEYS)),
    )
    def register_again(
        self,
        worker_id: int,
        can: tuple[JobType, ...],
        names: tuple[str, ...],
        more_slots: int,
        proven: bool,
        seals: bool,
        other_key: str | None,
    ) -> None:
        worker = self.market.workers.get(worker_id)
        if worker is None:
            return
        pubkey = other_key or worker.pubkey
        if proven:
            for other in list(self.market.workers.values()):
                if other.proven and other.pubkey == pubkey and other.worker_id != worker_id:
                    self.market.offline(other.worker_id)
        self.market.online(
            worker_id,
            pubkey,
            worker.provider_type,
            can=can,
            models=names,
            slots=worker.slots + more_slots,
            proven=proven,
            features=(SEALED_V1, TASKS_V1) if seals else (),
        )

    @rule(worker_id=worker_ids)
    def settle(self, worker_id: int) -> None:
        self.market.settle(worker_id)

    @rule(worker_id=consumes(worker_ids))
    def disconnect(self, worker_id: int) -> None:
        self.market.offline(worker_id)

    @rule(worker_id=worker_ids, luck=st.integers(0, 2))
    def drain_a_worker(self, worker_id: int, luck: int) -> None:
        if luck == 2:
            self.market.drains(worker_id)

    @precondition(lambda self: self.held)
    @rule(ms=st.sampled_from([500, 10_000, 19_999]), beats=st.integers(1, 3))
    def go_on_working(self, ms: int, beats: int) -> None:
        for _ in range(beats):
            for job_id, worker_id, attempt in self.held:
                self.market.beats(worker_id, (job_id, attempt), (job_id, attempt + 1), ("unknown", 1))
            self.market.advance(ms)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def refuse_for_want_of_room(self, which: int) -> None:
        job_id, worker_id, attempt = self.held[which % len(self.held)]
        before = {job.job_id: job.failures for job in self.market.core.jobs}
        self.market.says(worker_id, busy(job_id, attempt))
        for job in self.market.core.jobs:
            assert job.failures == before[job.job_id], "a soft failure was counted"

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), what=st.integers(0, 10), repeat=st.booleans())
    def speak_about_a_job_of_ones_own(self, which: int, what: int, repeat: bool) -> None:
        job_id, worker_id, attempt = self.held[which % len(self.held)]
        for _ in range(1 + repeat):
            self.market.says(worker_id, _frame(what, job_id, attempt))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), names_attempt=st.booleans())
    def complete(self, which: int, names_attempt: bool) -> None:
        job_id, worker_id, attempt = self.held[which % len(self.held)]
        self.market.says(worker_id, completion(job_id, attempt=attempt if names_attempt else None))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def lie(self, which: int) -> None:
        job_id, worker_id, attempt = self.held[which % len(self.held)]
        self.market.says(worker_id, completion(job_id, output=b'{"summary":"wrong"}', attempt=attempt))

    @rule()
    def audit(self) -> None:
        self.market.place_audits()

    @rule()
    def flush_records(self) -> None:
        if not self.market.outage:
            self.market.flush_records()

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def start(self, which: int) -> None:
        job_id, worker_id, attempt = self.held[which % len(self.held)]
        self.market.says(worker_id, started(job_id, attempt))

    @precondition(lambda self: self.market.assignments())
    @rule(which=st.integers(0, 9), what=st.integers(0, 10))
    def speak_about_an_earlier_assignment(self, which: int, what: int) -> None:
        recent = [given for given in self.market.assignments() if given[1] in self.market.workers]
        if recent:
            job_id, worker_id = recent[-1 - which % len(recent)]
            self.market.says(worker_id, _frame(what, job_id, self.market.path[job_id][1]))

    @property
    def held(self) -> list[tuple[str, int, int]]:
        """Job, worker and attempt of every lease."""
        return [
            (job.job_id, job.worker_id, job.attempt)
            for job in self.market.core.jobs
            if job.worker_id is not None
        ]

    @precondition(lambda self: self.submitted)
    @rule(
        worker_id=worker_ids,
        which=st.integers(0, 59),
        attempt=st.integers(1, 3),
        what=st.integers(0, 10),
    )
    def speak_about_any_job(self, worker_id: int, which: int, attempt: int, what: int) -> None:
        if worker_id in self.market.workers:
            job_id = self.submitted[which % len(self.submitted)]
            self.market.says(worker_id, _frame(what, job_id, attempt))

    # Everybody else

    @rule(ms=st.sampled_from([1, 1, 500, 500, 1_000, 2_500, 5_000, 20_000]))
    def let_time_pass(self, ms: int) -> None:
        self.market.advance(ms)

    @precondition(lambda self: self.market.overtaken)
    @rule(which=st.integers(1, 4))
    def have_a_timer_come_late(self, which: int) -> None:
        self.market.late_timer(-min(which, len(self.market.overtaken)))

    @precondition(lambda self: self.market.store_queue)
    @rule(count=st.integers(1, 4))
    def let_the_store_answer(self, count: int) -> None:
        self.market.store_answers(count)

    @precondition(lambda self: self.market.store_queue)
    @rule()
    def let_the_store_answer_everything(self) -> None:
        self.market.store_answers()

    @rule(luck=st.integers(0, 3))
    def let_the_disk_fail(self, luck: int) -> None:
        if luck == 3:
            self.market.outage = True

    @precondition(lambda self: self.market.outage)
    @rule()
    def repair_the_disk(self) -> None:
        self.market.outage = False
        self.market.store_answers()

    @precondition(lambda self: self.market.idle is None)
    @rule(luck=st.integers(0, 7))
    def drain_the_coordinator(self, luck: int) -> None:
        if luck == 7:
            self.market.start_drain()

    @rule(ms=st.sampled_from([-A_DAY, A_DAY]))
    def step_the_wall_clock(self, ms: int) -> None:
        self.market.clock.step_wall(ms)

    @rule()
    def sweep(self) -> None:
        self.market.core.sweep(self.market.now)
        assert self.market.core.drain() == [], "the sweep found a pair that an event should have found"

    @rule(luck=st.integers(0, 5), outage=st.sampled_from([0, 0, 1_000, A_DAY]))
    def restart(self, luck: int, outage: int) -> None:
        # A coordinator that is drained is about to stop.
        if luck == 5 or self.market.idle:
            self.market.outage = False
            self.reserved.clear()
            self.market.restart(outage=outage)

    @invariant()
    def what_was_announced_stays_so(self) -> None:
        for view in self.market.published[len(self.announced) :]:
            self.announced[view.job_id] = view.status
        for job_id, status in self.announced.items():
            assert self.market.status(job_id) is status

    def teardown(self) -> None:
        self.market.outage = False
        for job in self.reserved:
            self.market.give_back(job.user_id)
        for worker_id in list(self.market.workers):
            self.market.offline(worker_id)
        self._let_everything_end()
        if self.market.idle is not None:
            assert self.market.idle, "the drain never ended"
            # What waits goes on at the next start.
            self.market.restart()
            self._let_everything_end()
        assert not list(self.market.core.jobs), "a job never ended"
        assert self.market.timers == {}
        for job_id in self.submitted:
            assert self.market.status(job_id) in FINAL
        self.what_was_announced_stays_so()
        self._every_slot_is_free_in_the_end()

    def _let_everything_end(self) -> None:
        for _ in range(4):
            self.market.store_answers()
            self.market.advance(700_000)
        self.market.store_answers()

    def _every_slot_is_free_in_the_end(self) -> None:
        self.market.online(next(self.serial), key("e"), slots=3)
        self.market.submit(*(a_job(f"last-{number}") for number in range(3)))
        self.market.store_answers()
        assert len(self.held) == 3


def _frame(
    what: int, job_id: str, attempt: int
) -> JobStarted | JobChunk | JobComplete | JobFailed | JobReject:
    frames: list[JobStarted | JobChunk | JobComplete | JobFailed | JobReject] = [
        started(job_id, max(attempt, 1)),
        completion(job_id),
        completion(job_id, attempt=attempt),
        completion(job_id, output=b'{"error":"it broke"}'),
        completion(job_id, output_hash="0" * 64),
        reject(job_id),
        failed(job_id, max(attempt, 1)),
        failed(job_id, max(attempt, 1), retryable=False),
        failed(job_id, max(attempt, 1), code="model_unloaded"),
        busy(job_id),
        chunk(job_id, max(attempt, 1)),
    ]
    return frames[what]


def test_every_history_of_a_market_keeps_the_promises_of_the_matcher() -> None:
    run_state_machine_as_test(
        Market, settings=settings(max_examples=250, stateful_step_count=50, phases=[Phase.generate])
    )
