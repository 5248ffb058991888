"""What ends a benchmark run: a wrong answer is never counted as a fast one."""

from __future__ import annotations


class BenchmarkError(Exception):
    """A server, a worker or a seeker did not behave, so no figure may be quoted. Says what happened."""
