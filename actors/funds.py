"""What each payer owes at the moment, so that no balance is promised twice."""

from __future__ import annotations

from collections import defaultdict

from compute_router.actors.messages.payment_gate import FundsRefusal, HoldFunds
from compute_router.protocol.units import MicroUsd


class Funds:
    """Debts by payer: payments that may still move money, and amounts held for commits under way."""

    def __init__(self, max_unsettled: MicroUsd) -> None:
        self._max_unsettled = max_unsettled
        self._debts: defaultdict[str, int] = defaultdict(int)
        self._held: dict[str, HoldFunds] = {}
        self._held_payments: set[str] = set()

    def owed(self, payer: str) -> MicroUsd:
        """What a payer owes."""
        return MicroUsd(self._debts.get(payer, 0))

    def hold(self, wish: HoldFunds) -> FundsRefusal | None:
        """Hold an amount for a commit, or say why not. A payment that is held already is not held twice."""
        if wish.payment_id in self._held_payments:
            return None
        most = self._max_unsettled if wish.balance is None else wish.balance
        if self.owed(wish.payer) + wish.amount > most:
            unread = wish.balance is None
            return FundsRefusal.TOO_MUCH_UNSETTLED if unread else FundsRefusal.BALANCE_TOO_LOW
        self._held[wish.job_id] = wish
        self._held_payments.add(wish.payment_id)
        self.add(wish.payer, wish.amount)
        return None

    def drop(self, job_id: str) -> None:
        """Give up what is held for a job; harmless when nothing is."""
        wish = self._held.pop(job_id, None)
        if wish is not None:
            self._held_payments.discard(wish.payment_id)
            self.add(wish.payer, -wish.amount)

    def add(self, payer: str, amount: int) -> None:
        """Change what a payer owes."""
        self._debts[payer] += amount
        if not self._debts[payer]:
            del self._debts[payer]
