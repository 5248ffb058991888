"""What the Matcher decides over: unfinished jobs, connected workers, who is idle, and who waits."""

from __future__ import annotations

from collections.abc import Callable

from compute_router.actors.absent_holders import AbsentHolders
from compute_router.actors.admission import Admission
from compute_router.actors.audits import Audits
from compute_router.actors.connected_workers import ConnectedWorkers
from compute_router.actors.idle_workers import IdleWorkers
from compute_router.actors.live import LiveJob
from compute_router.actors.messages.base import Message
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.track_record import TrackRecords
from compute_router.actors.waiting_jobs import WaitingJobs


class Market:
    """The state under ``Placing``, ``Attempts``, ``Hearing`` and ``MatcherCore``; each adds to the last."""

    def __init__(self, policy: MatchingPolicy) -> None:
        self._policy = policy
        self._jobs: dict[str, LiveJob] = {}
        self._workers = ConnectedWorkers()
        self._idle = IdleWorkers()
        self._waiting = WaitingJobs(policy.ageing)
        self._absent = AbsentHolders()
        self._admission = Admission(policy)
        self._records = TrackRecords()
        self._audits = Audits(policy)
        self._on_idle: Callable[[], None] | None = None
        self._held_at_drain: list[str] = []
        self._out: list[Message] = []
