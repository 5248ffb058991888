"""What every store must do with owners, wrong codes and revoked pairings; part of the contract."""

from __future__ import annotations

import pytest

from compute_router.protocol.pairing import MAX_WRONG_TRIES
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import LOCKED, ClaimRefusal, Pairing, Store
from tests.storage.samples import NOON, later

HOUR = 60 * 60 * 1000
ALICE, BOB = "alice", "bob"
PHONE, DESKTOP = "a" * 64, "b" * 64
SOON, IN_AN_HOUR = later(1), later(HOUR)
MINE, OTHERS = "c" * 64, "d" * 64


def create(store: Store, code: str, user_id: str = ALICE, *, expires_at: UnixMs = IN_AN_HOUR) -> None:
    with store.transaction():
        store.create_pairing(user_id, code, NOON, expires_at)


def claim(
    store: Store, code: str, pubkey: str = PHONE, *, at: UnixMs = SOON, signed: bool = False
) -> Pairing | ClaimRefusal:
    with store.transaction():
        return store.claim_pairing(code, pubkey, at, signed=signed)


def guess(store: Store, head: str, times: int) -> None:
    for number in range(times):
        assert claim(store, f"{head}-WRONG-{number}") is ClaimRefusal.INVALID_CODE


class PairingContract:
    """Users have owners, codes burn, pairings end."""

    def test_a_user_has_no_owner_until_somebody_becomes_it(self, store: Store) -> None:
        assert store.owner(ALICE) is None
        with store.transaction():
            assert store.put_owner(ALICE, MINE, NOON)
        assert store.owner(ALICE) == MINE
        assert store.owner(BOB) is None

    @pytest.mark.parametrize("second", [MINE, OTHERS])
    def test_an_owner_is_never_replaced(self, store: Store, second: str) -> None:
        with store.transaction():
            store.put_owner(ALICE, MINE, NOON)
            assert not store.put_owner(ALICE, second, later(1))
        assert store.owner(ALICE) == MINE

    def test_a_user_can_be_locked_until_there_is_an_owner_and_an_owner_is_never_locked_out(
        self, store: Store
    ) -> None:
        with store.transaction():
            assert store.put_owner(ALICE, LOCKED, NOON)
            assert not store.put_owner(ALICE, LOCKED, later(1))
        assert store.owner(ALICE) == LOCKED
        with store.transaction():
            assert store.put_owner(ALICE, MINE, later(2))
            assert not store.put_owner(ALICE, LOCKED, later(3))
        assert store.owner(ALICE) == MINE

    def test_an_owner_whose_transaction_fails_is_none(self, store: Store) -> None:
        def fail() -> None:
            store.put_owner(ALICE, MINE, NOON)
            raise LookupError

        with pytest.raises(LookupError), store.transaction():
            fail()
        assert store.owner(ALICE) is None

    def test_a_code_lives_through_wrong_tries_with_its_head_up_to_a_bound(self, store: Store) -> None:
        create(store, "HEAD-RIGHT")
        guess(store, "HEAD", MAX_WRONG_TRIES - 1)
        assert isinstance(claim(store, "HEAD-RIGHT"), Pairing)

    def test_wrong_tries_burn_every_open_code_with_their_head_and_no_other(self, store: Store) -> None:
        for code in ("HEAD-ONE", "HEAD-TWO", "OTHER"):
            create(store, code)
        guess(store, "HEAD", MAX_WRONG_TRIES)
        assert claim(store, "HEAD-ONE") is ClaimRefusal.INVALID_CODE
        assert claim(store, "HEAD-TWO") is ClaimRefusal.INVALID_CODE
        assert store.trusted_pubkeys(ALICE) == ()
        assert isinstance(claim(store, "OTHER"), Pairing)

    def test_a_burnt_code_says_nothing_of_itself_after_its_hour_either(self, store: Store) -> None:
        create(store, "HEAD-RIGHT")
        guess(store, "HEAD", MAX_WRONG_TRIES)
        assert claim(store, "HEAD-RIGHT", at=later(2 * HOUR)) is ClaimRefusal.INVALID_CODE

    def test_a_used_code_is_still_known_after_wrong_tries(self, store: Store) -> None:
        create(store, "HEAD-RIGHT")
        claim(store, "HEAD-RIGHT")
        guess(store, "HEAD", MAX_WRONG_TRIES)
        assert claim(store, "HEAD-RIGHT") is ClaimRefusal.ALREADY_CLAIMED
        assert store.trusted_pubkeys(ALICE) == (PHONE,)

    def test_wrong_tries_before_a_code_was_made_do_not_count_for_it(self, store: Store) -> None:
        guess(store, "HEAD", MAX_WRONG_TRIES)
        create(store, "HEAD-RIGHT")
        assert isinstance(claim(store, "HEAD-RIGHT"), Pairing)

    def test_a_pairing_says_whether_the_key_signed_for_it(self, store: Store) -> None:
        create(store, "ONE")
        create(store, "TWO")
        claimed = [claim(store, "ONE", PHONE, signed=True), claim(store, "TWO", DESKTOP)]
        assert [isinstance(pairing, Pairing) and pairing.signed for pairing in claimed] == [True, False]
        assert {p.provider_pubkey: p.signed for p in store.pairings(ALICE)} == {PHONE: True, DESKTOP: False}

    def test_a_key_that_signed_once_stays_signed(self, store: Store) -> None:
        for code, signed in (("ONE", False), ("TWO", True), ("THREE", False)):
            create(store, code)
            claim(store, code, signed=signed)
        assert [pairing.signed for pairing in store.pairings(ALICE)] == [True]

    def test_open_codes_are_the_ones_of_the_user_that_are_neither_claimed_nor_expired(
        self, store: Store
    ) -> None:
        for code in ("ONE", "TWO", "THREE"):
            create(store, code)
        create(store, "SHORT", expires_at=later(5))
        create(store, "FOREIGN", BOB)
        claim(store, "ONE")
        assert (store.open_codes(ALICE, later(4)), store.open_codes(ALICE, later(5))) == (3, 2)
        assert store.open_codes("carol", NOON) == 0

    def test_dead_codes_are_forgotten_and_claimed_ones_kept(self, store: Store) -> None:
        create(store, "DEAD", expires_at=later(5))
        create(store, "USED", expires_at=later(5))
        create(store, "OPEN", expires_at=later(6))
        create(store, "FOREIGN", BOB, expires_at=later(5))
        claim(store, "USED")
        with store.transaction():
            assert store.delete_dead_codes(later(6), 9) == 2
        assert claim(store, "DEAD", at=later(9)) is ClaimRefusal.INVALID_CODE
        assert claim(store, "FOREIGN", at=later(9)) is ClaimRefusal.INVALID_CODE
        assert claim(store, "USED", at=later(9)) is ClaimRefusal.ALREADY_CLAIMED
        assert claim(store, "OPEN", at=later(9)) is ClaimRefusal.EXPIRED

    def test_dead_codes_are_forgotten_no_more_at_once_than_was_asked(self, store: Store) -> None:
        for number in range(5):
            create(store, f"DEAD{number}", expires_at=later(5))
        with store.transaction():
            assert [store.delete_dead_codes(later(6), 2) for _ in range(4)] == [2, 2, 1, 0]

    def test_a_revoked_key_is_trusted_no_more_however_often_it_was_paired(self, store: Store) -> None:
        for code, pubkey in (("ONE", PHONE), ("TWO", PHONE), ("THREE", DESKTOP)):
            create(store, code)
            claim(store, code, pubkey)
        with store.transaction():
            assert store.revoke_pairing(ALICE, PHONE)
            assert not store.revoke_pairing(ALICE, PHONE)
        assert store.trusted_pubkeys(ALICE) == (DESKTOP,)
        assert [pairing.provider_pubkey for pairing in store.pairings(ALICE)] == [DESKTOP]

    def test_revoking_touches_no_other_user(self, store: Store) -> None:
        create(store, "ONE", BOB)
        claim(store, "ONE")
        with store.transaction():
            assert not store.revoke_pairing(ALICE, PHONE)
        assert store.trusted_pubkeys(BOB) == (PHONE,)

    def test_the_code_of_a_revoked_pairing_does_not_work_again(self, store: Store) -> None:
        create(store, "ONE")
        claim(store, "ONE")
        with store.transaction():
            store.revoke_pairing(ALICE, PHONE)
        assert isinstance(claim(store, "ONE"), ClaimRefusal)
        assert store.trusted_pubkeys(ALICE) == ()

    def test_a_revoked_key_can_be_paired_again(self, store: Store) -> None:
        for code in ("ONE", "TWO"):
            create(store, code)
        claim(store, "ONE")
        with store.transaction():
            store.revoke_pairing(ALICE, PHONE)
        assert claim(store, "TWO", at=later(3)) == Pairing(
            user_id=ALICE, provider_pubkey=PHONE, paired_at=later(3)
        )
