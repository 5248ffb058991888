"""Audits: some finished tasks are run again by another worker, and whoever is the odd one out is barred.

Only tasks with a sure output are audited: PUBLIC ones, run by a proven key whose worker had a feature that
begins with ``tasks/`` when it got the job. Workers with the very same feature give the same output for the
same payload, and only they judge each other.

Two that agree are right. If they do not, a third decides: one against two is convicted, and if all three
differ, nobody is. So a key can only be convicted by two others, both proven, with a clean record, and no
newcomers. Whoever holds most of these keys can convict the others; the rest of the network cannot tell.

An audit is a job of nobody: a worker is only asked when it would otherwise be idle, and after a while
without one the audit is given up. A worker cannot tell it from a seeker's job.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any, Final

import msgspec

from compute_router.actors.clock import SteadyMs
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.track_record import TrackRecord

AUDITOR: Final = "\x01audit"
"""Whom audits belong to in the store. No seeker can have this name: user ids hold no control characters."""

CONVICTED: Final = "two other workers agreed on another output of the same task"

_JUDGES: Final = 3


class AuditCase:
    """One audited job.

    ``runs`` are the jobs that were done, the audited one first, each with its worker's key. ``asked`` are
    the keys that had the job in hands. ``user_id`` is the seeker's, so that a repetition looks like any job.
    ``tasks`` is the feature that its workers share.
    ``under_way`` says that a worker or the store has the case now.
    """

    __slots__ = ("asked", "ends", "job_id", "runs", "tasks", "under_way", "user_id")

    def __init__(self, job_id: str, pubkey: str, user_id: str, tasks: str, ends: SteadyMs) -> None:
        self.job_id = job_id
        self.user_id = user_id
        self.tasks = tasks
        self.runs: list[tuple[str, str]] = [(job_id, pubkey)]
        self.asked = {pubkey}
        self.ends = ends
        self.under_way = False


class Verdict(Enum):
    """What the outputs of a case say."""

    AGREED = "agreed"
    UNDECIDED = "undecided"
    CONVICTED = "convicted"
    ALL_DIFFER = "all differ"


class Audits:
    """The open cases, and the choice of what is audited."""

    def __init__(self, policy: MatchingPolicy, draw: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._draw = draw
        self._open: dict[str, AuditCase] = {}

    def __len__(self) -> int:
        return len(self._open)

    def chooses(self) -> bool:
        """Whether the job that was just done is to be audited; the answer is drawn."""
        return self._draw() < self._policy.audit_share and len(self._open) < self._policy.max_open_audits

    def begin(self, job_id: str, pubkey: str, user_id: str, tasks: str, now: SteadyMs) -> AuditCase:
        """Open a case about a finished job."""
        case = AuditCase(job_id, pubkey, user_id, tasks, SteadyMs(now + self._policy.audit_window))
        self._open[job_id] = case
        return case

    def waiting(self, now: SteadyMs) -> list[AuditCase]:
        """The cases that need a worker, oldest first; those that waited too long are given up."""
        for case in [case for case in self._open.values() if not case.under_way and now >= case.ends]:
            self.close(case)
        return [case for case in self._open.values() if not case.under_way]

    def find(self, job_id: str) -> AuditCase | None:
        """The open case about a job."""
        return self._open.get(job_id)

    def close(self, case: AuditCase) -> None:
        """Done with a case."""
        self._open.pop(case.job_id, None)

    def close_waiting(self, pubkey: str) -> None:
        """Give up the cases about a key that nobody works on; what it did is known."""
        for case in list(self._open.values()):
            if not case.under_way and case.runs[0][1] == pubkey:
                self.close(case)

    def may_judge(self, case: AuditCase, record: TrackRecord | None) -> bool:
        """Whether a key may repeat the job of a case."""
        return (
            record is not None
            and record.tasks == case.tasks
            and record.known
            and record.clean
            and record.completed >= self._policy.audit_newcomer_jobs
            and record.pubkey not in case.asked
        )


def judge(groups: Collection[int]) -> tuple[Verdict, int | None]:
    """The verdict over two or three outputs, and which of them is the odd one if it convicts.

    ``groups`` has a number for each output; equal outputs have equal numbers.
    """
    different = len(set(groups))
    if different == 1:
        return Verdict.AGREED, None
    if len(groups) < _JUDGES:
        return Verdict.UNDECIDED, None
    if different == _JUDGES:
        return Verdict.ALL_DIFFER, None
    each = list(groups)
    return Verdict.CONVICTED, next(index for index, group in enumerate(each) if each.count(group) == 1)


def group(outputs: Collection[bytes]) -> tuple[int, ...]:
    """Number outputs so that equal ones have equal numbers; see :func:`same_output`."""
    kinds: list[bytes] = []
    numbers = []
    for output in outputs:
        number = next((n for n, kind in enumerate(kinds) if same_output(kind, output)), len(kinds))
        if number == len(kinds):
            kinds.append(output)
        numbers.append(number)
    return tuple(numbers)


def same_output(one: bytes, other: bytes) -> bool:
    """Whether two outputs are the same: the same bytes, or else the same JSON value.

    White space, escapes and the order of an object's keys do not matter, and numbers are compared by value
    as doubles or whole numbers: ``1`` is ``1.0``. All else must be equal. What cannot be decoded, because
    it is nested too deeply, is only equal to the same bytes.
    """
    if one == other:
        return True
    try:
        return _same(msgspec.json.decode(one), msgspec.json.decode(other))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _same(one: Any, other: Any) -> bool:
    # Python holds True for 1; JSON does not.
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
