"""Which ends of an attempt say nothing bad about job or worker: the worker merely had no room just then."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.messages import JobFailed, JobReject

_SOFT_REASONS: Final = ("busy", "draining", "overloaded", "at capacity")
_SOFT_CODES: Final = frozenset(
    {"busy", "draining", "model_unavailable", "model_unloaded", "ollama_unreachable"}
)


def is_soft(frame: JobFailed | JobReject) -> bool:
    """Whether a refusal counts neither as an attempt nor against the worker."""
    if isinstance(frame, JobReject):
        return frame.reason.strip().lower().startswith(_SOFT_REASONS)
    return frame.retryable and frame.code in _SOFT_CODES
