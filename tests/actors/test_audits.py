"""Audits as pure decisions: what counts as the same output, and who is the odd one out."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from compute_router.actors.audits import AUDITOR, Audits, Verdict, group, judge, same_output
from compute_router.actors.clock import SteadyMs
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.track_record import TrackRecord
from compute_router.protocol.jobs import UserId
from compute_router.protocol.messages import TASKS_V1
from tests.actors.samples import key

A, B = key("a"), key("b")

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    scalars | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_a_value_is_the_same_however_it_is_written(value: object) -> None:
    plain = msgspec.json.encode(value)
    indented = msgspec.json.format(plain, indent=2)
    assert same_output(plain, indented)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        (b"[1]", b"[1.0]"),
        (b'"\\u00e9"', '"é"'.encode()),
        (b"[true]", b"[ true ]"),
    ],
)
def test_these_are_the_same(one: bytes, other: bytes) -> None:
    assert same_output(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"[1]", b"[true]"),
        (b"[0]", b"[false]"),
        (b"[0]", b"[null]"),
        (b"[1,2]", b"[2,1]"),
        (b"[1]", b"[1,1]"),
        (b'{"a":1}', b'{"a":1,"b":null}'),
        (b'{"a":1}', b'{"b":1}'),
        (b'"1"', b"1"),
        (b"0.1", b"0.10000000000000002"),
        (b"[]", b"{}"),
        (b'"a"', b'"A"'),
    ],
)
def test_these_differ(one: bytes, other: bytes) -> None:
    assert not same_output(one, other)
    assert not same_output(other, one)


def test_what_is_nested_too_deeply_to_be_read_is_only_the_same_as_its_own_bytes() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert same_output(deep, deep)
    assert not same_output(deep, b" " + deep)


@pytest.mark.parametrize(
    ("outputs", "verdict", "odd"),
    [
        ([b"1", b"1"], Verdict.AGREED, None),
        ([b"1", b"2"], Verdict.UNDECIDED, None),
        ([b"1", b"1.0", b" 1"], Verdict.AGREED, None),
        ([b"1", b"2", b"2"], Verdict.CONVICTED, 0),
        ([b"2", b"1", b"2"], Verdict.CONVICTED, 1),
        ([b"2", b"2", b"1"], Verdict.CONVICTED, 2),
        ([b"1", b"2", b"3"], Verdict.ALL_DIFFER, None),
    ],
)
def test_one_against_two_is_convicted_and_nobody_else_ever_is(
    outputs: list[bytes], verdict: Verdict, odd: int | None
) -> None:
    assert judge(group(outputs)) == (verdict, odd)


# What is audited, and by whom


@pytest.mark.parametrize(
    ("share", "draw", "chosen"), [(0.0, 0.0, False), (0.01, 0.02, False), (1.0, 0.99, True)]
)
def test_the_share_says_how_many_jobs_are_chosen(share: float, draw: float, chosen: bool) -> None:
    assert Audits(MatchingPolicy(audit_share=share), lambda: draw).chooses() is chosen


def test_no_more_cases_are_opened_than_there_may_be() -> None:
    audits = Audits(MatchingPolicy(audit_share=1.0, max_open_audits=1))
    assert audits.chooses()
    case = audits.begin("job", A, "alice", TASKS_V1, SteadyMs(0))
    assert not audits.chooses()
    audits.close(case)
    assert audits.chooses()


def test_a_case_that_finds_no_worker_is_given_up_after_its_window() -> None:
    policy = MatchingPolicy()
    audits = Audits(policy)
    audits.begin("job", A, "alice", TASKS_V1, SteadyMs(0))
    assert audits.waiting(SteadyMs(policy.audit_window - 1))
    assert not audits.waiting(SteadyMs(policy.audit_window))
    assert len(audits) == 0


def a_judge(**changes: object) -> TrackRecord:
    record = TrackRecord(B)
    record.tasks, record.completed = TASKS_V1, 10
    for name, value in changes.items():
        setattr(record, name, value)
    return record


@pytest.mark.parametrize(
    ("record", "may"),
    [
        (a_judge(), True),
        (None, False),
        (a_judge(pubkey=A), False),
        (a_judge(tasks="tasks/v2"), False),
        (a_judge(completed=9), False),
        (a_judge(bad_receipts=1), False),
        (a_judge(audits_disagreed=1), False),
        (a_judge(known=False), False),
    ],
    ids=[
        "clean",
        "unproven",
        "same key",
        "no feature",
        "newcomer",
        "wrong proof",
        "odd one before",
        "unread",
    ],
)
def test_only_another_proven_clean_key_that_is_no_newcomer_may_judge(
    record: TrackRecord | None, may: bool
) -> None:
    audits = Audits(MatchingPolicy())
    case = audits.begin("job", A, "alice", TASKS_V1, SteadyMs(0))
    assert audits.may_judge(case, record) is may


def test_no_seeker_can_have_the_name_that_audits_belong_to() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(AUDITOR, UserId)
