"""How often disturbed windows may be measured again, so that a run ends on a busy machine too."""

from __future__ import annotations


class Patience:
    """A number of extra windows, shared by all windows of a measure."""

    def __init__(self, extra_windows: int) -> None:
        self._left = extra_windows

    def spend(self) -> bool:
        """Take one extra window; False when none is left."""
        if not self._left:
            return False
        self._left -= 1
        return True
