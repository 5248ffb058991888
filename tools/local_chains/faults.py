"""What a local chain does wrong when it is told to."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass
class Faults:
    """Switches and counters; each counter goes down with every time that it strikes.

    ``down``: every request is answered with HTTP 503. ``delay_s``: every answer comes that much later.
    ``refuse_broadcasts``: a sent transaction is refused, and nothing happens. ``lose_answers``: a sent
    transaction is taken, and the connection closes without an answer. ``drop_transactions``: a sent
    transaction is answered like one that was taken, and never comes into a block. ``revert_transactions``: a
    sent transaction comes into a block as failed. ``hold_transactions``: taken transactions wait until
    ``release()`` of their chain.
    """

    down: bool = False
    delay_s: float = 0.0
    refuse_broadcasts: int = 0
    lose_answers: int = 0
    drop_transactions: int = 0
    revert_transactions: int = 0
    hold_transactions: bool = False

    def strikes(self, counter: str) -> bool:
        """Whether a counter strikes now, which uses it up by one."""
        left: int = getattr(self, counter)
        if left > 0:
            setattr(self, counter, left - 1)
        return left > 0

    def set(self, changes: dict[str, bool | int | float]) -> None:
        """Set some by name.

        Raises:
            KeyError: there is no such fault.
        """
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise KeyError(name)
            setattr(self, name, value)
