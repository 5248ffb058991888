"""The actors that run jobs: as many as the worker has slots, each running one job at a time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import msgspec
import pykka

from compute_router.protocol.log_format import place
from compute_router.protocol.units import UnixMs
from compute_router.worker.jobs import Assignment, Failed, JobError, Outcome, Output, Stopped
from compute_router.worker.session_events import Event, JobFinished, JobProgressed
from compute_router.worker.stopping import JobStoppedError, StopSign

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """Turns an assignment into compact JSON, or raises JobError."""

    def run(self, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]) -> bytes:
        """The output of the job. ``tell_chunk`` takes pieces of it that are ready before the whole is.

        Raises:
            JobError: the job cannot be done.
            JobStoppedError: ``stop`` was raised.
        """


class Recipient(Protocol):
    """Whatever can be told a message, such as an actor's ref."""

    def tell(self, message: Any) -> None:
        """Deliver the message, without waiting for it to be handled."""


class Execute(msgspec.Struct, frozen=True):
    """Run this job unless it is stopped; the recipient is told :class:`JobProgressed` and JobFinished."""

    assignment: Assignment
    stop: StopSign
    reply_to: Recipient


class ExecutorActor(pykka.ThreadingActor):
    """Runs one job after another."""

    # A model may take minutes: a worker that is told to stop does not wait for it.
    use_daemon_thread: ClassVar[bool] = True

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self._runner = runner

    def on_receive(self, message: Execute) -> None:
        """Run the job; whatever comes of it is told."""
        key = message.assignment.key
        outcome = run_to_outcome(
            self._runner,
            message.assignment,
            message.stop,
            lambda chunk: _tell(message.reply_to, JobProgressed(key, chunk)),
        )
        _tell(message.reply_to, JobFinished(key, outcome))


def _tell(recipient: Recipient, event: Event) -> None:
    # When the worker stops, the connection is gone before the job is done.
    with contextlib.suppress(pykka.ActorDeadError):
        recipient.tell(event)


def run_to_outcome(
    runner: Runner, assignment: Assignment, stop: StopSign, tell_chunk: Callable[[str], None]
) -> Outcome:
    """Run a job. A defect of this program fails the job, and is logged with where it happened.

    What an exception says is not logged: it may quote the job.
    """
    started = time.monotonic()
    try:
        stop.check()
        output = runner.run(assignment, stop, tell_chunk)
    except JobStoppedError:
        _log.debug("Job %s was stopped.", assignment.key)
        return Stopped()
    except JobError as error:
        # Its sentence may quote the job, and is for the seeker alone.
        _log.warning("Job %s failed: %s.", assignment.key, error.failure.code)
        return error.failure
    except Exception as error:
        _log.error("Job %s failed because of a defect of this worker.\n%s", assignment.key, place(error))
        return Failed("internal_error", f"The worker has a defect: {type(error).__name__}", retryable=True)
    elapsed_ms = (time.monotonic() - started) * 1000
    _log.debug("Job %s (%s) took %.1f ms.", assignment.key, assignment.job_type.value, elapsed_ms)
    return Output(output, UnixMs(time.time_ns() // 1_000_000))
