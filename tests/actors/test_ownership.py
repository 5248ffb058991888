"""Who may act for a user: the rule itself, and its place in one transaction with what it guards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import ForgetCodes
from compute_router.actors.messages.stored_trust import (
    ClaimPairing,
    CreatePairing,
    ListPairings,
    RevokePairing,
)
from compute_router.actors.ownership import OwnerProof, OwnerRefusal, refuse_owner
from compute_router.actors.store_requests import MAX_OPEN_CODES_PER_USER, READ_ONLY, handle
from compute_router.protocol.errors import TooManyCodesError
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import LOCKED, ClaimRefusal, Pairing
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.fakes.clock import FakeClock
from tests.storage.samples import NOON

ALICES, MALLORYS = "a" * 64, "b" * 64
PUBKEY = "c" * 64
HOUR = 60 * 60 * 1000
NOBODY, ALICE, MALLORY, VOUCHED = (
    OwnerProof(),
    OwnerProof(ALICES),
    OwnerProof(MALLORYS),
    OwnerProof(vouched=True),
)


@pytest.mark.parametrize(
    ("proof", "owner", "refusal"),
    [
        (ALICE, ALICES, None),
        (MALLORY, ALICES, OwnerRefusal.TOKEN_WRONG),
        (NOBODY, ALICES, OwnerRefusal.TOKEN_MISSING),
        (ALICE, None, OwnerRefusal.TOKEN_WRONG),
        (NOBODY, None, OwnerRefusal.TOKEN_MISSING),
        (VOUCHED, ALICES, None),
        (VOUCHED, None, None),
        (NOBODY, LOCKED, OwnerRefusal.LOCKED),
        (ALICE, LOCKED, OwnerRefusal.LOCKED),
        (VOUCHED, LOCKED, None),
    ],
)
def test_only_the_owner_and_who_is_vouched_for_may_act(
    proof: OwnerProof, owner: str | None, refusal: OwnerRefusal | None
) -> None:
    assert refuse_owner(proof, owner) is refusal


class Office:
    """A store, and requests to it that each are a transaction of their own."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.codes = 0

    def do(self, request: Message) -> object:
        with self.store.transaction():
            return handle(self.store, FakeClock(), request)

    def create(self, proof: OwnerProof, *, at: int = NOON, new_owner: str | None = ALICES) -> object:
        self.codes += 1
        code = f"{self.codes:04}CODE"
        return self.do(CreatePairing("alice", code, UnixMs(at), UnixMs(at + HOUR), proof, new_owner))

    def pair(self) -> None:
        assert self.create(ALICE) is True
        assert isinstance(self.do(ClaimPairing("0001CODE", PUBKEY, UnixMs(NOON))), Pairing)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    yield Office(store)
    store.close()


def test_the_first_code_makes_the_owner_and_later_ones_do_not(office: Office) -> None:
    assert office.create(NOBODY) is True
    assert office.create(ALICE) is False
    assert office.store.owner("alice") == ALICES


def test_a_refused_create_keeps_no_code_and_no_owner(office: Office) -> None:
    office.create(NOBODY)
    assert office.create(NOBODY, new_owner=MALLORYS) is OwnerRefusal.TOKEN_MISSING
    assert office.create(MALLORY, new_owner=MALLORYS) is OwnerRefusal.TOKEN_WRONG
    assert (office.store.owner("alice"), office.store.open_codes("alice", UnixMs(NOON))) == (ALICES, 1)


def test_two_first_creates_in_one_batch_make_one_owner(office: Office) -> None:
    with office.store.transaction():
        answers = [
            handle(
                office.store,
                FakeClock(),
                CreatePairing("alice", code, UnixMs(NOON), UnixMs(NOON + 1), NOBODY, owner),
            )
            for code, owner in (("ONE", ALICES), ("TWO", MALLORYS))
        ]
    assert answers == [True, OwnerRefusal.TOKEN_MISSING]
    assert office.store.owner("alice") == ALICES


def test_a_user_who_came_with_an_api_key_is_locked_and_nobody_owns_it_by_coming(office: Office) -> None:
    assert office.create(VOUCHED, new_owner=None) is False
    assert office.store.owner("alice") == LOCKED
    for proof in (NOBODY, ALICE):
        assert office.create(proof) is OwnerRefusal.LOCKED
        assert office.do(RevokePairing("alice", PUBKEY, proof)) is OwnerRefusal.LOCKED
    assert office.create(VOUCHED, new_owner=None) is False


def test_an_admin_gets_a_locked_user_its_token(office: Office) -> None:
    office.create(VOUCHED, new_owner=None)
    assert office.create(VOUCHED, new_owner=ALICES) is True
    assert office.create(VOUCHED, new_owner=MALLORYS) is False
    assert office.create(ALICE) is False


def test_a_user_with_pairings_and_no_owner_is_not_free_for_the_taking(office: Office) -> None:
    with office.store.transaction():
        office.store.create_pairing("alice", "OLD", UnixMs(NOON), UnixMs(NOON + HOUR))
    office.do(ClaimPairing("OLD", PUBKEY, UnixMs(NOON)))
    assert office.create(MALLORY, new_owner=MALLORYS) is OwnerRefusal.LOCKED
    assert office.create(NOBODY, new_owner=MALLORYS) is OwnerRefusal.LOCKED
    assert office.store.owner("alice") is None
    assert office.create(VOUCHED, new_owner=ALICES) is True
    assert office.store.trusted_pubkeys("alice") == (PUBKEY,)


def test_too_many_open_codes_are_refused_until_some_expire_and_the_dead_are_forgotten(
    office: Office,
) -> None:
    for _ in range(MAX_OPEN_CODES_PER_USER):
        office.create(ALICE)
    with pytest.raises(TooManyCodesError):
        office.create(ALICE)
    assert office.create(ALICE, at=NOON + HOUR) is False
    first = ClaimPairing("0001CODE", PUBKEY, UnixMs(NOON + HOUR))
    assert office.do(first) is ClaimRefusal.EXPIRED
    clock = FakeClock()
    for hours, forgotten in ((24, 0), (2, MAX_OPEN_CODES_PER_USER)):
        clock.advance(hours * HOUR)
        with office.store.transaction():
            assert handle(office.store, clock, ForgetCodes(99)).count == forgotten
    assert office.do(first) is ClaimRefusal.INVALID_CODE


def test_a_refused_first_create_makes_nobody_the_owner(office: Office) -> None:
    with office.store.transaction():
        for number in range(MAX_OPEN_CODES_PER_USER):
            office.store.create_pairing("alice", f"OLD{number}", UnixMs(NOON), UnixMs(NOON + HOUR))
    with pytest.raises(TooManyCodesError):
        office.create(MALLORY, new_owner=MALLORYS)
    assert office.store.owner("alice") is None


def test_only_the_owner_revokes(office: Office) -> None:
    office.pair()
    for proof, refusal in ((NOBODY, OwnerRefusal.TOKEN_MISSING), (MALLORY, OwnerRefusal.TOKEN_WRONG)):
        assert office.do(RevokePairing("alice", PUBKEY, proof)) is refusal
    assert office.store.trusted_pubkeys("alice") == (PUBKEY,)
    assert office.do(RevokePairing("alice", PUBKEY, ALICE)) is True
    assert office.do(RevokePairing("alice", PUBKEY, VOUCHED)) is False
    assert office.store.trusted_pubkeys("alice") == ()


def test_a_list_is_for_everybody_but_those_with_a_wrong_token(office: Office) -> None:
    office.pair()
    for proof in (NOBODY, ALICE, VOUCHED):
        assert office.do(ListPairings("alice", proof)) == office.store.pairings("alice")
    assert office.do(ListPairings("alice", MALLORY)) is OwnerRefusal.TOKEN_WRONG


def test_revoking_waits_for_a_database_that_can_be_written() -> None:
    assert ListPairings in READ_ONLY
    assert not {CreatePairing, ClaimPairing, RevokePairing} & READ_ONLY
