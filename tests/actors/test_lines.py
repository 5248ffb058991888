"""The two indexes of the Matcher: free workers, and waiting jobs."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from compute_router.actors.clock import SteadyMs
from compute_router.actors.idle_workers import IdleWorkers
from compute_router.actors.live import Demand, LiveJob, LiveWorker
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.waiting_jobs import WaitingJobs
from compute_router.protocol.jobs import JobType, ProviderType, Tier
from tests.actors.samples import LLM, TASK, a_job, key

DESKTOP, SEEKER = ProviderType.DESKTOP, ProviderType.SEEKER
BOTH = (DESKTOP, SEEKER)


def a_worker(
    worker_id: int,
    kind: ProviderType = DESKTOP,
    *,
    can: tuple[JobType, ...] = (LLM, TASK),
    models: tuple[str, ...] = (),
    pubkey: str | None = None,
) -> LiveWorker:
    name = pubkey or f"{worker_id:064x}"
    return LiveWorker(worker_id, name, kind, frozenset(can), models, 1, proven=True)


def a_live_job(
    job_id: str = "job",
    *,
    since: int = 0,
    tier: Tier = Tier.CHEAP,
    user: str = "alice",
    job_type: JobType = TASK,
    trusted: tuple[str, ...] | None = None,
) -> LiveJob:
    job = a_job(job_id, tier=tier, user=user, job_type=job_type, private=trusted is not None)
    return LiveJob(job, SteadyMs(since), trusted or (), MatchingPolicy().run_limit)


def waiting(*jobs: LiveJob) -> WaitingJobs:
    line = WaitingJobs(MatchingPolicy().ageing)
    for job in jobs:
        line.add(job)
    return line


# Free workers


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from(ProviderType))),
    st.sampled_from([BOTH, (SEEKER, DESKTOP)]),
    st.sets(st.integers(0, 9)),
)
def test_the_first_idle_worker_is_the_one_that_a_search_of_all_would_find(
    history: list[tuple[bool, int, ProviderType]],
    providers: tuple[ProviderType, ...],
    tried_ids: set[int],
) -> None:
    idle = IdleWorkers()
    model: dict[int, LiveWorker] = {}
    for add, worker_id, kind in history:
        if worker_id in model:
            idle.discard(model.pop(worker_id))
        if add:
            model[worker_id] = a_worker(worker_id, kind, can=(TASK,))
            idle.add(model[worker_id])
    tried = tuple(a_worker(number).pubkey for number in sorted(tried_ids)[:3])
    expected = min(
        model.values(),
        default=None,
        key=lambda worker: (
            worker.pubkey in tried,
            providers.index(worker.provider_type),
            list(model).index(worker.worker_id),
        ),
    )
    assert idle.first((TASK, None), providers, tried) is expected
    assert idle.first((LLM, None), providers, tried) is None


def test_a_worker_that_is_added_again_counts_as_idle_from_now() -> None:
    idle = IdleWorkers()
    one, two = a_worker(1), a_worker(2)
    for worker in (one, two, one):
        idle.add(worker)
    assert idle.first((TASK, None), BOTH, ()) is two


def test_a_worker_that_is_taken_out_is_in_no_line() -> None:
    idle = IdleWorkers()
    worker = a_worker(1, models=("llama",))
    idle.add(worker)
    idle.discard(worker)
    idle.discard(worker)
    demands: list[Demand] = [(TASK, None), (LLM, None), (LLM, "llama")]
    for demand in demands:
        assert idle.first(demand, BOTH, ()) is None


def test_a_long_line_of_workers_that_tried_before_is_not_searched_to_its_end() -> None:
    idle = IdleWorkers()
    workers = [a_worker(number) for number in range(100)]
    for worker in workers:
        idle.add(worker)
    tried = tuple(worker.pubkey for worker in workers[:99])
    assert idle.first((TASK, None), BOTH, tried) is workers[0]


# What a worker can run


def test_a_worker_for_inference_answers_to_each_of_its_models_and_to_any() -> None:
    assert a_worker(1, models=("llama", "qwen")).demands == (
        (TASK, None),
        (LLM, None),
        (LLM, "llama"),
        (LLM, "qwen"),
    )
    assert a_worker(1, can=(TASK,), models=("llama",)).demands == ((TASK, None),)


def test_a_worker_is_free_while_it_is_settled_and_has_a_slot_left() -> None:
    worker = LiveWorker(1, key("a"), DESKTOP, frozenset([TASK]), (), 2, proven=False)
    free = [worker.free]
    worker.settled = True
    for job_id in ("one", "two"):
        free.append(worker.free)
        worker.busy.add(job_id)
    assert [*free, worker.free] == [False, True, True, False]


def test_trust_is_asked_of_private_jobs_only() -> None:
    worker = a_worker(1)
    assert worker.can_run(a_live_job())
    assert not worker.can_run(a_live_job(trusted=(key("f"),)))
    assert worker.can_run(a_live_job(trusted=(worker.pubkey,)))


# Waiting jobs


def test_a_worker_is_offered_only_what_it_can_run() -> None:
    line = waiting(a_live_job("chat", job_type=LLM), a_live_job("secret", trusted=(key("f"),)))
    assert line.best_for(a_worker(1, can=(TASK,))) is None


def test_the_earlier_of_two_jobs_of_one_tier_goes_first_whatever_their_type() -> None:
    chat = a_live_job("chat", job_type=LLM, since=5, user="bob")
    task = a_live_job("task", since=4)
    assert waiting(chat, task).best_for(a_worker(1)) is task


def test_a_cheap_job_goes_before_a_fast_one_only_after_ageing() -> None:
    ageing = MatchingPolicy().ageing
    cheap = a_live_job("cheap", since=0)
    for since, first in ((ageing, "fast"), (ageing + 1, "cheap")):
        fast = a_live_job("fast", tier=Tier.FAST, since=since, user="bob")
        best = waiting(cheap, fast).best_for(a_worker(1))
        assert best is not None
        assert best.job_id == first


def test_a_private_job_stands_in_line_for_each_trusted_worker_and_leaves_all_lines_at_once() -> None:
    job = a_live_job(trusted=(key("a"), key("b")))
    line = waiting(job)
    ours = [a_worker(1, pubkey=key("a")), a_worker(2, pubkey=key("b"))]
    assert [line.best_for(worker) for worker in ours] == [job, job]
    line.take(job, SteadyMs(1))
    assert [line.best_for(worker) for worker in ours] == [None, None]
    assert line.heads() == []


def test_a_private_job_whose_user_trusts_nobody_waits_in_no_line() -> None:
    job = a_live_job(trusted=())
    line = waiting(job)
    assert line.heads() == []
    line.remove(job)
    assert line.heads() == []


@given(st.lists(st.tuples(st.sampled_from(["alice", "bob", "carol"]), st.sampled_from(JobType)), max_size=30))
def test_among_jobs_of_one_age_every_user_is_served_once_before_any_is_served_twice(
    pushes: list[tuple[str, JobType]],
) -> None:
    jobs = [
        a_live_job(str(number), user=user, job_type=job_type)
        for number, (user, job_type) in enumerate(pushes)
    ]
    line, worker = waiting(*jobs), a_worker(1)
    order: list[str] = []
    while (job := line.best_for(worker)) is not None:
        line.take(job, SteadyMs(len(order) + 1))
        order.append(job.user_id)
    assert len(order) == len(jobs)
    everybody = {user for user, _ in pushes}
    assert set(order[: len(everybody)]) == everybody
