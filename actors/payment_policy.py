"""The numbers by which payments are settled, in one place; times are in milliseconds."""

from __future__ import annotations

import msgspec

from compute_router.protocol.units import DurationMs, MicroUsd


class PaymentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How settlement goes, and what a payer may owe.

    Attributes:
        early: an authorization is settled so long before it expires, whether its job has ended or not.
        settle_timeout, read_timeout: how long the facilitator and the chain may take for one answer.
        facilitator_is_own: it runs on this machine and answers nobody else, so its word about a payer counts.
        settlements_at_once, reads_at_once: how many such questions are under way together.
        steps_at_once: how many steps of payments the store has to record at any time; the others wait.
        retry_backoff, max_backoff: wait before a question is asked again; it doubles up to the maximum.
        max_nap: the longest time between two looks at an authorization that is not due yet, in case that the
            wall clock is set forward.
        failures_until_down: so many settlements in a row without an answer mean that the facilitator is down.
        check_settlements: believe a settlement only when the chain shows it.
        looks_at_once: how many payments that were given up are looked up together, when they have expired.
        max_look_pause: the longest time until such a look is repeated that brought nothing.
        max_unsettled: what one payer may owe while the chain cannot say what he has; who has lost the
            operator so much may owe nothing more.
        max_losses: when so much is lost within a day, nobody may pay until it is older, or the limit higher.
    """

    early: DurationMs = DurationMs(15_000)
    settle_timeout: DurationMs = DurationMs(40_000)
    read_timeout: DurationMs = DurationMs(10_000)
    facilitator_is_own: bool = False
    settlements_at_once: int = 64
    reads_at_once: int = 32
    steps_at_once: int = 16
    retry_backoff: DurationMs = DurationMs(1_000)
    max_backoff: DurationMs = DurationMs(60_000)
    max_nap: DurationMs = DurationMs(60_000)
    failures_until_down: int = 3
    check_settlements: bool = True
    looks_at_once: int = 8
    max_look_pause: DurationMs = DurationMs(3_600_000)
    max_unsettled: MicroUsd = MicroUsd(1_000_000)
    max_losses: MicroUsd = MicroUsd(5_000_000)

    @property
    def answer_timeout(self) -> DurationMs:
        """How long the facilitator's connection waits for an answer to a settlement.

        Less than ``settle_timeout``, so that the connection sees the silence and counts it.
        """
        return DurationMs(self.settle_timeout * 7 // 8)

    @property
    def confirm_timeout(self) -> DurationMs:
        """How long a facilitator of our own waits for a block.

        Less than ``answer_timeout``, so that a slow block is answered with "pending" and is no silence.
        """
        return DurationMs(self.settle_timeout * 3 // 4)

    def backoff(self, tries: int) -> DurationMs:
        """Wait after so many tries before this one brought nothing."""
        return DurationMs(min(self.retry_backoff << min(tries, 16), self.max_backoff))
