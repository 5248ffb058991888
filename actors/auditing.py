"""What follows from a believed result: the worker's record, and perhaps an audit; and the barring of keys."""

from __future__ import annotations

import logging
import random
import uuid
from typing import Final

from compute_router.actors.audits import AUDITOR, CONVICTED, AuditCase, Verdict, judge
from compute_router.actors.clock import SteadyMs
from compute_router.actors.hearing import Hearing
from compute_router.actors.live import Demand, LiveJob, LiveWorker
from compute_router.actors.messages.matcher import WorkerStanding
from compute_router.actors.messages.stored_trust import (
    AuditJudged,
    InsertAudit,
    JudgeAudit,
    LoadWorkerRecord,
    RecordBarred,
    WorkerRecordLoaded,
)
from compute_router.actors.messages.worker_registry import BarKey, Deliver
from compute_router.actors.track_record import Band
from compute_router.protocol.failures import Failure
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.messages import TASKS, JobCancel
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import NewJob, WorkerRecord

logger = logging.getLogger(__name__)

_TASKS: Final[Demand] = (JobType.TASK, None)
_JUDGES_LOOKED_AT: Final = 8
_CASES_LOOKED_AT: Final = 16


class Auditing(Hearing):
    """Counts what proven workers bring, has some of it repeated, and throws cheats out."""

    # Records

    def load_records(self, rows: tuple[WorkerRecord, ...], *, all_of_them: bool) -> None:
        """Take in the records that an earlier run left."""
        self._records.load(rows, all_of_them=all_of_them)

    def record_loaded(self, event: WorkerRecordLoaded, now: SteadyMs) -> None:
        """The store answers what it holds of a key that was not in memory."""
        if self._records.learn(event.pubkey, event.record):
            for worker in self._workers.with_key(event.pubkey):
                self._idle.band_changed(worker)

    def changed_records(self, now: UnixMs, limit: int | None = None) -> tuple[WorkerRecord, ...]:
        """The records that changed since they were last taken."""
        return self._records.take_changed(now, limit)

    def standing(self, pubkey: str, now: UnixMs) -> WorkerStanding:
        """What is known here of a key; whether it is barred only the store knows."""
        workers = self._workers.with_key(pubkey)
        record = self._records.find(pubkey)
        return WorkerStanding(
            connected=bool(workers),
            proven=any(worker.proven for worker in workers),
            record=record.row(now) if record is not None and record.known else None,
        )

    def _take_record(self, worker: LiveWorker) -> None:
        """Give a proven worker the record of its key."""
        if not worker.proven:
            return
        record = worker.record = self._records.of(worker.pubkey)
        record.tasks = next((feature for feature in worker.features if feature.startswith(TASKS)), None)
        if not record.known:
            self._out.append(LoadWorkerRecord(worker.pubkey))

    def _believed(self, job: LiveJob, now: SteadyMs) -> None:
        """A result was kept. So the job could be done, and whoever failed it before is to blame."""
        record = job.record
        if record is not None and job.blamed:
            self._count_blamed(job)
        if record is None:
            if job.audit is not None:
                self._repeated(job.audit, job)
            return
        # What is left of the time to run tells when the worker got the job; a restart makes up that time.
        sent_at = job.run_ends - job.run_limit
        latency = None if job.recovered else DurationMs(max(job.answered_at - sent_at, 0))
        if self._records.completed(record, latency):
            self._band_changed(record)
        if (
            job.tasks is not None
            and job.job_type is JobType.TASK
            and job.privacy_class is PrivacyClass.PUBLIC
            and self._audits.chooses()
        ):
            self._audits.begin(job.job_id, record.pubkey, job.user_id, job.tasks, now)
            self.place_audits(now)

    def _count_blamed(self, job: LiveJob) -> None:
        for record, reason in job.blamed:
            records = self._records
            count = records.failed if reason is Failure.WORKER_ERROR else records.rejected
            if count(record):
                self._band_changed(record)

    # Audits

    def audit_judged(self, event: AuditJudged, now: SteadyMs) -> None:
        """The store compared the outputs of a case."""
        case = self._audits.find(event.job_id)
        if case is not None:
            case.under_way = False
            self._decide(case, event.groups, now)
            # The worker that was just heard is idle again, unless a seeker's job took it.
            self.place_audits(now)

    def _decide(self, case: AuditCase, groups: tuple[int, ...], now: SteadyMs) -> None:
        if len(groups) != len(case.runs):
            # One of the jobs is not there any more.
            self._audits.close(case)
            return
        verdict, odd = judge(groups)
        if verdict is Verdict.UNDECIDED:
            return
        self._audits.close(case)
        if verdict is Verdict.ALL_DIFFER:
            return
        for index, (_, pubkey) in enumerate(case.runs):
            record = self._records.audited(pubkey, agreed=index != odd)
            # Audits of the same key that were under way may end alike.
            if index == odd and not record.barred:
                record.barred = True
                self._bar(pubkey, now)

    def place_audits(self, now: SteadyMs) -> None:
        """Have idle workers repeat what is to be audited: no seeker's job waits for any of them."""
        if self._admission.draining or not self._audits:
            return
        for case in self._audits.waiting(now)[:_CASES_LOOKED_AT]:
            judges = [
                worker
                for worker in self._idle.heads(_TASKS, Band.GOOD, _JUDGES_LOOKED_AT)
                if self._audits.may_judge(case, worker.record)
            ]
            if judges:
                # Nobody is to know who comes next; but no secret hangs on it.
                self._have_repeated(case, random.choice(judges), now)  # noqa: S311

    def _have_repeated(self, case: AuditCase, worker: LiveWorker, now: SteadyMs) -> None:
        window, lease = self._policy.audit_window, self._policy.task_lease
        request = InsertAudit(str(uuid.uuid4()), case.job_id, window, lease)
        self._out.append(request)
        new = NewJob(
            job_id=request.job_id,
            job_type=JobType.TASK,
            tier=Tier.CHEAP,
            privacy_class=PrivacyClass.PUBLIC,
            user_id=AUDITOR,
            payload=b"",
            model=None,
            created_at=UnixMs(0),
            queue_deadline=UnixMs(0),
            queue_window=window,
            lease=lease,
        )
        job = LiveJob(new, now, (), self._policy.run_limit)
        job.audit = case
        case.under_way = True
        case.asked.add(worker.pubkey)
        self._jobs[job.job_id] = job
        self._admission.enter(AUDITOR)
        self._assign(job, worker, now)
        # Nothing of it counts for the worker but the verdict.
        job.record = None

    def _repeated(self, case: AuditCase, job: LiveJob) -> None:
        assert job.worker_pubkey is not None
        case.runs.append((job.job_id, job.worker_pubkey))
        self._out.append(JudgeAudit(case.job_id, tuple(job_id for job_id, _ in case.runs)))

    def _fail(self, job: LiveJob, failure: Failure) -> None:
        super()._fail(job, failure)
        if job.audit is not None:
            # The next sweep asks somebody else.
            job.audit.under_way = False

    # Cheats

    def _bar(self, pubkey: str, now: SteadyMs) -> None:
        logger.warning("worker key %s is barred: %s", pubkey, CONVICTED)
        self._out.append(RecordBarred(pubkey, CONVICTED))
        self._out.append(BarKey(pubkey, CONVICTED))
        self._audits.close_waiting(pubkey)
        taken_back = self._absent.of(pubkey)
        for worker in self._workers.with_key(pubkey):
            self._idle.discard(worker)
            self._workers.remove(worker)
            taken_back += [self._jobs[job_id] for job_id in worker.busy if job_id in self._jobs]
        self._records.rest(pubkey)
        for job in taken_back:
            if job.sent and job.worker_id is not None and not job.finishing:
                self._out.append(Deliver(job.worker_id, JobCancel(job.job_id, job.attempt)))
            job.worker_id = None
            if not job.finishing:
                # The job has not failed, and the worker has been judged.
                job.record = None
                self._end_attempt(job, Failure.WORKER_DISCONNECTED, now, counts=False)
