"""``POST /v1/jobs/commit/{tier}``: take a job in. The answer is given when the job is on disk."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Final

import msgspec

from compute_router.actors.messages import Admit, InsertJob, RecordFailed, Submit
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import NotFoundError, NoTrustedWorkerError, RequestError
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.http_api import CommitAnswer, CommitRequest
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier, decode_payload
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import NewJob
from compute_router.transport.http_types import Answer, Request, decode_json, json_answer
from compute_router.transport.job_watch import JobWatch

_COMMITS: Final = msgspec.json.Decoder(CommitRequest)
_TIERS: Final = {tier.value.lower(): tier for tier in Tier}


class CommitResource:
    """Checks a job whole before anything is stored."""

    def __init__(self, system: System, watch: JobWatch) -> None:
        self._system = system
        self._watch = watch

    async def post(self, request: Request, variable: str) -> Answer:
        try:
            tier = _TIERS[variable]
        except KeyError:
            raise NotFoundError("Jobs are committed at /v1/jobs/commit/fast or /cheap.") from None
        job = self._read(request, tier)
        await ask(self._system.gate, Admit(job.tier, job.job_type))
        trusted = await ask(self._system.store, InsertJob(job))
        submit = Submit(job, trusted)
        if job.privacy_class is PrivacyClass.PUBLIC:
            self._system.matcher.tell(submit)
        elif not await ask(self._system.matcher, submit):
            result = failed_result(Failure.NO_TRUSTED_WORKER)
            await ask(self._system.store, RecordFailed(job.job_id, 0, result))
            raise NoTrustedWorkerError(
                "None of the workers paired with this user is connected and able to run the job.", job.job_id
            )
        return json_answer(CommitAnswer(job.job_id), 201)

    def _read(self, request: Request, tier: Tier) -> NewJob:
        body = request.json(_COMMITS.decode)
        payload = bytes(body.payload)
        decode_json(payload, partial(decode_payload, body.job_type), "payload: ")
        if body.model is not None and body.job_type is not JobType.LLM_INFER:
            raise RequestError("model can only be chosen for LLM_INFER jobs.")
        now = self._system.clock.unix_ms()
        return NewJob(
            job_id=str(uuid.uuid4()),
            job_type=body.job_type,
            tier=tier,
            privacy_class=body.privacy_class,
            user_id=body.user_id,
            payload=payload,
            model=body.model,
            created_at=now,
            queue_deadline=UnixMs(now + self._system.policy.queue_window),
        )
