"""Running sealed jobs: the payload is opened before the run, and the output sealed after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.errors import SealedUnreadableError, UnusableKeyError
from compute_router.protocol.sealing import SealedPayload, find_sealed, open_payload, seal_result
from compute_router.worker.execution import Runner
from compute_router.worker.jobs import Assignment, JobError
from compute_router.worker.stopping import StopSign

_WITHHELD: Final = "The worker could not run this sealed job; the reason may quote it and is withheld."


class SealedJobRunner:
    """Runs plain jobs as they are. Of a sealed one nothing but the sealed output leaves the worker.

    So there are no chunks, and an error says its code without its sentence.
    """

    def __init__(self, plain: Runner, key: SigningKey) -> None:
        """``plain`` runs opened jobs; ``key`` is the worker's own, which jobs are sealed to."""
        self._plain = plain
        self._key = key

    def run(self, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]) -> bytes:
        """The output of the job, sealed if the job was.

        Raises:
            JobError: as the plain runner does, or ``sealed_unreadable``: another worker may open it.
            JobStoppedError: ``stop`` was raised.
        """
        try:
            sealed = find_sealed(assignment.job_type, assignment.payload)
            if sealed is None:
                return self._plain.run(assignment, stop, tell_chunk)
            opened = msgspec.structs.replace(assignment, payload=self._open(sealed, assignment))
        except SealedUnreadableError as error:
            raise _unreadable(str(error)) from None
        try:
            output = self._plain.run(opened, stop, _drop_chunk)
        except JobError as error:
            failure = error.failure
            raise JobError(failure.code, _WITHHELD, retryable=failure.retryable) from None
        try:
            return seal_result(output, sealed.reply_to)
        except UnusableKeyError as error:
            raise _unreadable(str(error)) from None

    def _open(self, sealed: SealedPayload, assignment: Assignment) -> bytes:
        if assignment.binding is None:
            raise SealedUnreadableError("The coordinator did not say which network it serves.")
        return open_payload(sealed, assignment.binding, self._key)


def _drop_chunk(chunk: str) -> None:
    """Pieces of a sealed job's output would reach the coordinator unsealed."""


def _unreadable(sentence: str) -> JobError:
    return JobError(SealedUnreadableError.code, sentence, retryable=True)
