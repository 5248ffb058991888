"""A bounded number of seeds of both layers, and proof that a broken promise is found. See docs/chaos.md."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compute_router.actors.attempts import Attempts
from compute_router.actors.matcher_core import MatcherCore
from compute_router.actors.messages.payment_gate import OutcomeRead, SettleAnswered
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.payment_core import PaymentCore
from compute_router.protocol.messages import JobAck
from compute_router.protocol.payments import Refused, StillOpen
from compute_router.storage.interface import IdempotencyKey, Replay
from compute_router.storage.sqlite_store import SqliteStore
from compute_router.transport import paid_jobs
from tests.chaos.journal import Violation
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.runs import simulation

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 240
_KILLED_IN_A_STOP = 502


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def test_simulated_histories_full_of_faults_keep_every_promise() -> None:
    ran = chaos("--layer", "simulation", "--seeds", "200")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "200 seeds" in ran.stdout
    assert " 0 violations" in ran.stdout


@pytest.mark.acceptance
def test_real_processes_that_are_killed_keep_every_promise() -> None:
    ran = chaos("--layer", "processes", "--seeds", "6", "--jobs", "3")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 violations" in ran.stdout


@pytest.mark.acceptance
def test_real_processes_that_are_paid_keep_every_promise_about_money() -> None:
    # The last of them is on the EVM chain.
    ran = chaos("--layer", "paid", "--seeds", "3", "--jobs", "3")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 violations" in ran.stdout
    for promise in MoneyPromise:
        assert promise.value in ran.stdout


def test_a_kill_in_the_middle_of_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    journal = simulation(_KILLED_IN_A_STOP, tmp_path)
    assert journal.faults["SIGTERM"]


def test_a_seed_repeats_itself() -> None:
    first, second = (chaos("--layer", "simulation", "--seed", "7") for _ in range(2))
    assert first.stdout == second.stdout
    assert "1 seeds" in first.stdout


# The suite itself: each of these coordinators breaks one promise, and some seed must notice.


def first_violation(directory: Path, seeds: int = 60) -> str:
    for seed in range(seeds):
        try:
            simulation(seed, directory)
        except Violation as violation:
            return str(violation)
    return "none"


@pytest.fixture
def quiet(expected_errors: list[logging.LogRecord]) -> None:
    """Errors are logged on purpose here."""


@pytest.mark.usefixtures("quiet")
def test_an_acknowledgement_before_the_commit_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    completed = MatcherCore._completed

    def hasty(self: MatcherCore, job: Any, event: Any, frame: Any, now: Any) -> None:
        self._out.append(Deliver(event.worker_id, JobAck(frame.job_id, "accepted", attempt=job.attempt)))
        completed(self, job, event, frame, now)

    monkeypatch.setattr(MatcherCore, "_completed", hasty)
    assert "was accepted from" in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_slot_that_is_not_given_back_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    release = Attempts._release

    def forgetful(self: Attempts, job: Any, now: Any) -> None:
        if job.failures:
            job.worker_id = None
        release(self, job, now)

    monkeypatch.setattr(Attempts, "_release", forgetful)
    assert first_violation(tmp_path) != "none"


@pytest.mark.usefixtures("quiet")
def test_two_leases_at_once_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def impatient(self: Attempts, job: Any, grace: Any) -> None:
        self._absent.add(job)
        self._set_timer(job, type(grace)(1), waiting=False)

    monkeypatch.setattr(Attempts, "_await_return", impatient)
    assert "was taken back for" in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_key_that_makes_two_jobs_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    insert = SqliteStore.insert_job

    def forgetful(
        self: SqliteStore, job: Any, key: IdempotencyKey | None = None, *, paid: bool = False
    ) -> Replay | None:
        return insert(self, job, None, paid=paid)

    monkeypatch.setattr(SqliteStore, "insert_job", forgetful)
    assert "key" in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_job_that_a_restart_forgets_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unfinished = SqliteStore.unfinished_jobs
    monkeypatch.setattr(SqliteStore, "unfinished_jobs", lambda self: iter(list(unfinished(self))[1:]))
    assert "was acknowledged and is still" in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_receipt_that_does_not_prove_its_result_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put = SqliteStore.put_receipt

    def careless(self: SqliteStore, job_id: str, receipt: Any, created_at: Any) -> bool:
        return put(self, job_id, type(receipt)(**(_fields(receipt) | {"signature": "AAAA"})), created_at)

    monkeypatch.setattr(SqliteStore, "put_receipt", careless)
    assert first_violation(tmp_path) != "none"


@pytest.mark.usefixtures("quiet")
def test_a_result_that_is_given_away_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paid_jobs, "awaits_payment", lambda view: False)
    assert MoneyPromise.RELEASED.value in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_payment_that_a_restart_forgets_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = SqliteStore.open_payments
    monkeypatch.setattr(SqliteStore, "open_payments", lambda self: found(self)[1:])
    assert "when all is calm" in first_violation(tmp_path)


@pytest.mark.usefixtures("quiet")
def test_a_refusal_that_is_believed_without_a_look_at_the_chain_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answered = PaymentCore.settle_answered

    def gullible(self: PaymentCore, event: SettleAnswered, now: Any) -> None:
        answered(self, event, now)
        if isinstance(event.answer, Refused):
            self.outcome_read(OutcomeRead(event.payment_id, StillOpen()), now)

    monkeypatch.setattr(PaymentCore, "settle_answered", gullible)
    assert MoneyPromise.DELIVERED.value in first_violation(tmp_path)


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
