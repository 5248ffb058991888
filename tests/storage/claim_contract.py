"""What every store must do with codes and the pairings they become; part of the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from compute_router.storage.interface import ClaimRefusal, Pairing, Store
from tests.storage.job_steps import HOUR
from tests.storage.samples import ALICE, DESKTOP, NOON, PHONE, later


class ClaimContract:
    """A code becomes a pairing once, in time."""

    constraint_error: ClassVar[type[Exception]]

    def test_a_claimed_code_makes_the_worker_trusted(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            pairing = store.claim_pairing("CODE", PHONE, later(1))
        assert pairing == Pairing(user_id=ALICE, provider_pubkey=PHONE, paired_at=later(1))
        assert store.pairings(ALICE) == (pairing,)
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_an_unclaimed_code_makes_nobody_trusted(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
        assert store.pairings(ALICE) == ()
        assert store.trusted_pubkeys(ALICE) == ()

    def test_trust_is_of_one_user_only(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
        assert store.trusted_pubkeys("bob") == ()
        assert store.pairings("bob") == ()

    def test_an_unknown_code_is_refused(self, store: Store) -> None:
        with store.transaction():
            assert store.claim_pairing("CODE", PHONE, NOON) is ClaimRefusal.INVALID_CODE

    @pytest.mark.parametrize("second", [PHONE, DESKTOP])
    def test_a_code_works_once(self, store: Store, second: str) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
            assert store.claim_pairing("CODE", second, later(2)) is ClaimRefusal.ALREADY_CLAIMED
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_a_used_code_is_already_claimed_even_after_its_hour(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            store.claim_pairing("CODE", PHONE, later(1))
            assert store.claim_pairing("CODE", PHONE, later(HOUR + 1)) is ClaimRefusal.ALREADY_CLAIMED

    def test_a_code_is_good_until_the_last_millisecond(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            assert isinstance(store.claim_pairing("CODE", PHONE, later(HOUR - 1)), Pairing)

    @pytest.mark.parametrize("late_by", [0, 1, 10 * HOUR])
    def test_an_expired_code_is_refused_and_stays_unused(self, store: Store, late_by: int) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
            assert store.claim_pairing("CODE", PHONE, later(HOUR + late_by)) is ClaimRefusal.EXPIRED
        assert store.trusted_pubkeys(ALICE) == ()

    def test_the_same_code_cannot_be_given_out_twice(self, store: Store) -> None:
        with store.transaction():
            store.create_pairing(ALICE, "CODE", NOON, later(HOUR))
        with pytest.raises(self.constraint_error), store.transaction():
            store.create_pairing("bob", "CODE", NOON, later(HOUR))

    def test_a_worker_paired_again_counts_once_since_the_first_time(self, store: Store) -> None:
        first = Pairing(user_id=ALICE, provider_pubkey=PHONE, paired_at=later(1))
        with store.transaction():
            store.create_pairing(ALICE, "ONE", NOON, later(HOUR))
            store.create_pairing(ALICE, "TWO", NOON, later(HOUR))
            assert store.claim_pairing("ONE", PHONE, later(1)) == first
            assert store.claim_pairing("TWO", PHONE, later(2)) == first
        assert store.pairings(ALICE) == (first,)
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_pairings_come_oldest_first(self, store: Store) -> None:
        with store.transaction():
            for code in ("ONE", "TWO"):
                store.create_pairing(ALICE, code, NOON, later(HOUR))
            store.claim_pairing("TWO", PHONE, later(2))
            store.claim_pairing("ONE", DESKTOP, later(1))
        assert [pairing.provider_pubkey for pairing in store.pairings(ALICE)] == [DESKTOP, PHONE]
