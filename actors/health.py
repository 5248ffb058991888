"""What is wrong with the coordinator at the moment, as sentences for the operator."""

from __future__ import annotations


class HealthBoard:
    """The standing problem of each part. Lives on the event loop only."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}
        self.notes: list[str] = []
        """What the operator chose and others should know; no problem, but no secret either."""

    def report(self, part: str, problem: str | None) -> None:
        """A part has a problem, or None any more."""
        if problem is None:
            self._problems.pop(part, None)
        else:
            self._problems[part] = problem

    def problem(self, part: str) -> str | None:
        """What is wrong with one part."""
        return self._problems.get(part)

    @property
    def problems(self) -> list[str]:
        """All standing problems."""
        return [f"{part}: {problem}" for part, problem in sorted(self._problems.items())]
