"""The limits of this coordinator, as ``GET /v1/health`` shows them to whoever wants to stay within."""

from __future__ import annotations

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.http_api import AddressLimitsShown, LimitsShown
from compute_router.transport.endpoint_limits import rates
from compute_router.transport.job import MAX_WAIT_SECONDS
from compute_router.transport.key_rates import key_rates
from compute_router.transport.limits import AddressLimits


def shown_limits(policy: MatchingPolicy, limits: AddressLimits, max_body_bytes: int) -> LimitsShown:
    """What one address, one user and all together may do here."""
    return LimitsShown(
        body_bytes=max_body_bytes,
        wait_seconds=int(MAX_WAIT_SECONDS),
        ttl_seconds=policy.max_queue_window / 1000,
        jobs=policy.max_jobs,
        jobs_per_user=policy.max_jobs_per_user,
        workers=policy.max_workers,
        address=AddressLimitsShown(
            connections=limits.connections,
            sockets_per_minute=limits.sockets_per_minute,
            messages_per_second=limits.messages_per_second,
            calls_per_minute={cost.value: rate.per_minute for cost, rate in rates(limits).items()},
        ),
        api_key_calls_per_minute={cost.value: rate.per_minute for cost, rate in key_rates(limits).items()},
    )
