"""What each payer owes at the moment, so that no balance is promised twice, and what was lost by payers."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from compute_router.actors.messages.payment_gate import ClaimPayment, FundsRefusal, HoldFunds
from compute_router.protocol.payments import Loss
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs

LOSSES_COUNT_FOR: Final = DurationMs(24 * 60 * 60 * 1000)
_REMEMBERED_CLAIMS: Final = 10_000
_REMEMBERED_SETTLEMENTS: Final = 10_000
"""More than can come while one balance is read."""


class _Claim:
    """A payment that commits under way came with; its amount is a debt while ``holders`` are there."""

    __slots__ = ("amount", "commit", "holders", "jobs", "payer")

    def __init__(self, payer: str, amount: MicroUsd, commit: str) -> None:
        self.payer = payer
        self.amount = amount
        self.commit = commit
        self.jobs: set[str] = set()
        self.holders: set[str] = set()


class Funds:
    """Debts by payer: payments that may still move money, amounts held for commits under way, and losses.

    A payment belongs to the commit that came with it first. Only when it is found good its amount is held.
    """

    def __init__(self, max_unsettled: MicroUsd, max_losses: MicroUsd) -> None:
        self._max_unsettled = max_unsettled
        self._max_losses = max_losses
        self._debts: defaultdict[str, int] = defaultdict(int)
        self._claims: dict[str, _Claim] = {}
        self._claim_of: dict[str, str] = {}
        self._past_claims: dict[str, str] = {}
        self._losses: dict[str, Loss] = {}
        self._lost_by: defaultdict[str, int] = defaultdict(int)
        self._newest_losses: deque[Loss] = deque()
        self._newest_lost = 0
        self._mark = 0
        self._settled: deque[tuple[str, int, MicroUsd]] = deque()
        self._settled_by: dict[str, deque[tuple[int, MicroUsd]]] = {}

    # Commits

    @property
    def mark(self) -> int:
        """Where the settlements stand: a balance that is read from now on shows all of them so far."""
        return self._mark

    def owed(self, payer: str) -> MicroUsd:
        """What a payer owes."""
        return MicroUsd(self._debts.get(payer, 0) + self._lost_by.get(payer, 0))

    def claim(self, wish: ClaimPayment) -> FundsRefusal | None:
        """Keep a payment for a commit, unless another came with it first; the same commit may be repeated."""
        lost = self._lost_by.get(wish.payer, 0)
        if lost and lost >= self._max_unsettled:
            return FundsRefusal.PAYER_IN_DEBT
        claim = self._claims.get(wish.payment_id)
        # Who was asked about it has seen it, and may have said no to have it for himself.
        whose = claim.commit if claim is not None else self._past_claims.get(wish.payment_id, wish.commit)
        if whose != wish.commit:
            return FundsRefusal.CLAIMED
        if claim is None:
            claim = self._claims[wish.payment_id] = _Claim(wish.payer, wish.amount, wish.commit)
        claim.jobs.add(wish.job_id)
        self._claim_of[wish.job_id] = wish.payment_id
        return None

    def hold(self, wish: HoldFunds) -> FundsRefusal | None:
        """Hold the amount of a claimed payment, or say why not.

        What is held already is not held twice, and stays until the last commit with it is over.
        """
        payment_id = self._claim_of.get(wish.job_id)
        if payment_id is None:
            # Another commit with it was stored meanwhile, as the store will say.
            return None
        claim = self._claims[payment_id]
        if not claim.holders:
            refusal = self._refuse(claim, wish)
            if refusal is not None:
                return refusal
            self.add(claim.payer, claim.amount)
        claim.holders.add(wish.job_id)
        return None

    def _refuse(self, claim: _Claim, wish: HoldFunds) -> FundsRefusal | None:
        debt = self.owed(claim.payer) + claim.amount
        if wish.balance is None:
            return FundsRefusal.TOO_MUCH_UNSETTLED if debt > self._max_unsettled else None
        if debt > wish.balance:
            return FundsRefusal.BALANCE_TOO_LOW
        # Money that went since the balance was read may still be counted in it.
        gone = sum(amount for mark, amount in self._settled_by.get(claim.payer, ()) if mark > wish.mark)
        return FundsRefusal.BALANCE_IS_OLD if debt + gone > wish.balance else None

    def drop(self, job_id: str) -> None:
        """Give up what is claimed and held for a job; harmless when nothing is."""
        payment_id = self._claim_of.pop(job_id, None)
        if payment_id is None:
            return
        claim = self._claims[payment_id]
        claim.jobs.discard(job_id)
        if job_id in claim.holders:
            claim.holders.discard(job_id)
            if not claim.holders:
                self.add(claim.payer, -claim.amount)
        if not claim.jobs:
            del self._claims[payment_id]
            self._past_claims[payment_id] = claim.commit
            if len(self._past_claims) > _REMEMBERED_CLAIMS:
                del self._past_claims[next(iter(self._past_claims))]

    def taken(self, payment_id: str) -> None:
        """A payment was stored with a job: it counts as that, whoever else came with it."""
        claim = self._claims.get(payment_id)
        for job_id in () if claim is None else tuple(claim.jobs):
            self.drop(job_id)
        self._past_claims.pop(payment_id, None)

    # Payments

    def add(self, payer: str, amount: int) -> None:
        """Change what a payer owes."""
        self._debts[payer] += amount
        if not self._debts[payer]:
            del self._debts[payer]

    def settled(self, payer: str, amount: MicroUsd) -> None:
        """A payer paid what he owed, just before."""
        self.add(payer, -amount)
        self._mark += 1
        self._settled.append((payer, self._mark, amount))
        self._settled_by.setdefault(payer, deque()).append((self._mark, amount))
        if len(self._settled) > _REMEMBERED_SETTLEMENTS:
            oldest, _, _ = self._settled.popleft()
            self._settled_by[oldest].popleft()
            if not self._settled_by[oldest]:
                del self._settled_by[oldest]

    # Losses

    def lose(self, loss: Loss) -> None:
        """A completed job was not paid for; if that is its payer's fault, he owes it from now on."""
        if loss.payment_id in self._losses:
            return
        self._losses[loss.payment_id] = loss
        if loss.owed:
            self._lost_by[loss.payer] += loss.amount
        self._newest_losses.append(loss)
        self._newest_lost += loss.amount

    def recover(self, payment_id: str) -> bool:
        """A loss was made good; False if there was none."""
        loss = self._losses.pop(payment_id, None)
        if loss is None:
            return False
        if loss.owed:
            self._lost_by[loss.payer] -= loss.amount
            if not self._lost_by[loss.payer]:
                del self._lost_by[loss.payer]
        if loss in self._newest_losses:
            self._newest_losses.remove(loss)
            self._newest_lost -= loss.amount
        return True

    def losses_end(self, now: UnixMs) -> UnixMs | None:
        """When so much was lost within a day that nobody may pay any more: until when. None: all is well."""
        while self._newest_losses and self._newest_losses[0].at + LOSSES_COUNT_FOR <= now:
            self._newest_lost -= self._newest_losses.popleft().amount
        if self._newest_lost < self._max_losses or not self._newest_losses:
            return None
        return UnixMs(self._newest_losses[0].at + LOSSES_COUNT_FOR)

    @property
    def lost(self) -> MicroUsd:
        """What was lost within a day, at the last :meth:`losses_end`."""
        return MicroUsd(self._newest_lost)
