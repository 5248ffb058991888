"""Random lives of paid jobs: every order of events, every lie and silence, and crashes at every point.

After the faults everybody behaves, and then the money must be where it belongs: a seeker paid for each
completed job once and for nothing else, what he paid for a job that failed is his credit, the worker is
credited for each completed job, nothing is open, and the ledger agrees with the chain.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from compute_router.actors.messages.payment_gate import OutcomeRead, SettleAnswered
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.ledger import LOSSES
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Payment, Refused, Settled, Unknown
from compute_router.protocol.units import DurationMs, UnixMs
from tests.fakes.paying import PRICE, Shop, a_payment

STEPS = 140
PAYERS = ("alice", "bob", "carol")
MAY_ASK = {PaymentState.SETTLING, PaymentState.UNKNOWN}


class History:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        policy = PaymentPolicy(max_backoff=DurationMs(30_000), check_settlements=self.rng.random() < 0.7)
        self.shop = Shop(policy)
        self.shop.on_settle = self._asked
        self.jobs: list[str] = []
        self.since_crash: set[str] = set()
        self.believed: set[str] = set()
        """Payments of which the facilitator lied that they were settled, and the chain is not asked."""
        self.set_back = 0
        """How far the wall clock may be behind what the gate saw."""
        self.calm = False

    def _asked(self, payment: Payment) -> None:
        """Settlement was asked for: that must be durable, sensible, and the only question about it."""
        shop = self.shop
        kept = shop.payment(payment.job_id)
        assert kept.state in MAY_ASK, f"asked while {kept.state}"
        assert payment.payload == kept.payload
        assert payment.payment_id not in [other.payment_id for other in shop.executor.settlements]
        view = shop.disk.job_view(payment.job_id)
        assert view is not None
        due = shop.clock.unix_ms() + self.set_back >= payment.expires_at - shop.policy.early
        assert due or view.status in FINAL, "the job is unfinished, and there is time"

    def play(self) -> None:
        for _ in range(STEPS):
            self._step()
            self._nothing_unpaid_was_told()
        self._be_good()
        self._check()

    # What may happen

    def _step(self) -> None:
        shop, rng = self.shop, self.rng
        what = rng.random()
        if what < 0.10:
            self._commit()
        elif what < 0.22:
            self._end_a_job()
        elif what < 0.40 and shop.requests:
            shop.serve_store()
        elif what < 0.58 and shop.answers:
            shop.deliver_answer()
        elif what < 0.68 and shop.ends:
            shop.deliver_end()
        elif what < 0.72:
            shop.matcher_cancels()
        elif what < 0.82 and shop.executor.settlements:
            self._facilitator()
        elif what < 0.89 and shop.executor.readings:
            self._chain()
        elif what < 0.90 and shop.executor.looks:
            self._look()
        elif what < 0.905 and self.jobs:
            # Whoever saw an authorization may carry it out, asked or not.
            shop.chain.carry_out(shop.payment(rng.choice(self.jobs)))
        elif what < 0.92 and shop.chain.on_its_way:
            self._land()
        elif what < 0.95 and shop.executor.probes:
            shop.facilitator_is(rng.choice([None, None, "it is ill"]))
        elif what < 0.985:
            shop.clock.advance(rng.choice([1, 500, 5_000, 30_000, 400_000]))
            shop.fire_timers()
        elif what < 0.99:
            self.set_back += 5_000
            shop.clock.step_wall(rng.choice([-5_000, 5_000]))
        else:
            self._crash()

    def _commit(self) -> None:
        job_id = f"job-{len(self.jobs)}"
        payer = self.rng.choice(PAYERS)
        if self.rng.random() < 0.1:
            self.shop.chain.poor ^= {self.rng.choice(PAYERS)}
        self.jobs.append(job_id)
        lives = self.rng.choice([20_000, 45_000, 3_600_000])
        if self.rng.random() < 0.1:
            # The coordinator dies between the disk and the gate.
            expires = UnixMs(self.shop.clock.unix_ms() + lives)
            self.shop.insert(job_id, a_payment(job_id, payer, expires))
            self._crash()
        else:
            self.shop.commit(job_id, payer=payer, lives=lives)
        self.since_crash.add(job_id)

    def _end_a_job(self) -> None:
        if not self.jobs:
            return
        job_id = self.rng.choice(self.jobs)
        end = self.rng.choice([self.shop.complete, self.shop.complete, self.shop.fail, self.shop.cancel])
        if self._status(job_id) not in FINAL:
            end(job_id)

    def _facilitator(self) -> None:
        shop, rng = self.shop, self.rng
        payment = shop.executor.settlements.pop(rng.randrange(len(shop.executor.settlements)))
        what = 0 if self.calm else rng.randrange(9)
        answer: Settled | Refused | Unknown
        if what in (0, 1, 2):
            answer = shop.chain.carry_out(payment)
        elif what == 3:
            answer = Refused("it is not in the mood")
        elif what == 4:
            answer = Unknown("it never got it")
        elif what == 5:
            shop.chain.carry_out(payment)
            answer = Unknown("it did it, and the line broke")
        elif what == 6:
            shop.chain.on_its_way.append(payment)
            answer = Unknown("it is in no block yet")
        elif what == 7:
            shop.chain.carry_out(payment)
            answer = Refused("a lie: it was settled")
        else:
            answer = Settled("a lie: nothing was settled")
            if not shop.policy.check_settlements:
                self.believed.add(payment.payment_id)
        shop.tell(SettleAnswered(payment.payment_id, answer))
        if rng.random() < 0.1:
            # It answers twice, and not the same.
            again = Settled("again") if rng.random() < 0.5 else Refused("again")
            shop.tell(SettleAnswered(payment.payment_id, again))

    def _chain(self) -> None:
        shop, rng = self.shop, self.rng
        payment = shop.executor.readings.pop(rng.randrange(len(shop.executor.readings)))
        if not self.calm and rng.random() < 0.3:
            shop.tell(OutcomeRead(payment.payment_id, Unknown("no route")))
        else:
            shop.tell(OutcomeRead(payment.payment_id, shop.chain.outcome(payment)))

    def _look(self) -> None:
        shop, rng = self.shop, self.rng
        payment = shop.executor.looks.pop(rng.randrange(len(shop.executor.looks)))
        unread = not self.calm and rng.random() < 0.3
        outcome = Unknown("no route") if unread else shop.chain.outcome(payment)
        shop.tell(OutcomeRead(payment.payment_id, outcome))

    def _land(self) -> None:
        waiting = self.shop.chain.on_its_way
        self.shop.chain.carry_out(waiting.pop(self.rng.randrange(len(waiting))))

    def _crash(self) -> None:
        self.since_crash = {job_id for job_id in self.jobs if self._status(job_id) not in FINAL}
        self.shop.crash()

    # What must be true

    def _status(self, job_id: str) -> JobStatus:
        view = self.shop.disk.job_view(job_id)
        assert view is not None
        return view.status

    def _nothing_unpaid_was_told(self) -> None:
        for view in self.shop.told.views:
            assert view.payment is not None
            if view.status is JobStatus.COMPLETED:
                assert view.payment.state in (PaymentState.SETTLED, PaymentState.VOID)

    def _be_good(self) -> None:
        shop = self.shop
        self.calm = True
        if self.rng.random() < 0.5:
            self._crash()
        for job_id in self.jobs:
            if self._status(job_id) not in FINAL:
                self.rng.choice([shop.complete, shop.fail])(job_id)
        for _ in range(200):
            shop.settle_down()
            while shop.executor.settlements:
                self._facilitator()
            while shop.executor.readings:
                self._chain()
            while shop.executor.looks:
                self._look()
                shop.settle_down()
            while shop.executor.probes:
                shop.facilitator_is(None)
            while shop.chain.on_its_way:
                self._land()
            shop.pass_time(60_000)

    def _check(self) -> None:
        shop = self.shop
        times_told = Counter(view.job_id for view in shop.told.views)
        paid: Counter[str] = Counter()
        credited: Counter[str] = Counter()
        completed = 0
        for job_id in self.jobs:
            payment = shop.payment(job_id)
            moved = payment.payment_id in shop.chain.moved
            delivered = self._status(job_id) is JobStatus.COMPLETED
            completed += delivered
            if payment.payment_id in self.believed and not moved:
                # The operator's loss alone.
                moved = payment.state is not PaymentState.VOID
            wanted = PaymentState.VOID
            if moved:
                wanted = PaymentState.SETTLED if delivered else PaymentState.CREDITED
            assert payment.state is wanted, f"{job_id}: {payment.state}, {payment.reason}"
            paid[payment.payer] += PRICE if moved else 0
            credited[payment.payer] += PRICE if wanted is PaymentState.CREDITED else 0
            if job_id in self.since_crash:
                assert times_told[job_id] >= 1, f"the end of {job_id} was never told"
        assert shop.disk.ledger_sum() == 0
        assert shop.earned() == completed * (PRICE - PRICE // 20)
        lost = [loss.payment_id for loss in shop.disk.losses()]
        assert shop.disk.balance(LOSSES) == -PRICE * len(lost)
        assert set(lost) == {
            shop.payment(job_id).payment_id
            for job_id in self.jobs
            if self._status(job_id) is JobStatus.COMPLETED and shop.state(job_id) is PaymentState.VOID
        }
        for payer in PAYERS:
            assert shop.paid(payer) == paid[payer]
            assert shop.credit(payer) == credited[payer]
        assert shop.disk.balance("receivable") == 0
        assert shop.disk.balance("held") == 0
        self._nothing_is_open()

    def _nothing_is_open(self) -> None:
        assert self.shop.disk.open_payments() == ()
        assert not self.shop.timers
        assert self.shop.problem is None


@pytest.mark.parametrize("block", range(10))
def test_in_every_history_the_money_is_where_it_belongs(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        history = History(seed)
        try:
            history.play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
