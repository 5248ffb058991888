"""How long the worker waits for what."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.protocol.units import DurationMs

CHALLENGE_WAIT: Final = DurationMs(300)
REGISTER_WAIT: Final = DurationMs(10_000)
HEARTBEAT_EVERY: Final = DurationMs(10_000)
CONNECT_WAIT: Final = DurationMs(10_000)
DRAIN_LIMIT: Final = DurationMs(30_000)

MAX_UNANSWERED_HEARTBEATS: Final = 3
"""When this many heartbeats in a row have no answer, the connection is taken for dead."""


class Timing(msgspec.Struct, frozen=True):
    """The waits of one worker, in milliseconds.

    ``drain_limit`` is how long a worker that was asked to leave goes on for the sake of its jobs.
    """

    challenge_wait: DurationMs = CHALLENGE_WAIT
    register_wait: DurationMs = REGISTER_WAIT
    heartbeat_every: DurationMs = HEARTBEAT_EVERY
    connect_wait: DurationMs = CONNECT_WAIT
    drain_limit: DurationMs = DRAIN_LIMIT
