"""When to ask again for an unfinished job. Decisions only; no clock and no waiting here."""

from __future__ import annotations

import math
from typing import Final

POLL_INTERVAL_S: Final = 0.5
LONGEST_WAIT_S: Final = 60
_QUICK_ANSWERS_OF_A_PLAIN_POLL: Final = 2


class PollRhythm:
    """Long polls while the coordinator holds its answers, plain polls twice a second once it does not.

    A client keeps one of these: what it learned about its coordinator on one job holds for the next.
    """

    def __init__(self, longest_wait_s: int = LONGEST_WAIT_S) -> None:
        self._longest_wait_s = min(longest_wait_s, LONGEST_WAIT_S)
        self._quick_answers = 0
        self.long_poll = self._longest_wait_s > 0

    def wait_s(self, remaining_s: float) -> int:
        """Whole seconds that the next request asks the coordinator to wait; 0 asks for an answer at once."""
        if not self.long_poll or remaining_s <= 0:
            return 0
        return min(self._longest_wait_s, math.ceil(remaining_s))

    def pause_s(self, asked_wait_s: int, elapsed_s: float) -> float:
        """Seconds to pause after an answer that the job is unfinished.

        Answers that come sooner than the plain polling interval, although a wait was asked for, show that
        the coordinator does not wait. It takes two in a row, for one that stops answers all its long polls
        at once. Slower answers need no pause, for the request itself took the time.
        """
        if asked_wait_s > 0:
            self._quick_answers = self._quick_answers + 1 if elapsed_s < POLL_INTERVAL_S else 0
            self.long_poll = self._quick_answers < _QUICK_ANSWERS_OF_A_PLAIN_POLL
        return 0.0 if self.long_poll and self._quick_answers == 0 else POLL_INTERVAL_S
