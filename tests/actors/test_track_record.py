"""What is kept of each key, and the score that follows from it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from compute_router.actors.track_record import Band, TrackRecord, TrackRecords, band_of
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import WorkerRecord
from tests.actors.samples import NOON, key

A, B = key("a"), key("b")
QUICK = DurationMs(200)
LOSSES = ("failed", "rejected", "lost", "wrong_proof")

outcomes = st.lists(st.sampled_from(["completed", *LOSSES]), max_size=400)


def happen(records: TrackRecords, record: TrackRecord, *what: str) -> None:
    for outcome in what:
        if outcome == "completed":
            records.completed(record, QUICK)
        else:
            getattr(records, outcome)(record)


def after(*what: str) -> TrackRecord:
    """A key's record after these outcomes."""
    records = TrackRecords()
    record = records.of(A)
    happen(records, record, *what)
    return record


def a_row(pubkey: str = A, **changes: object) -> WorkerRecord:
    fields: dict[str, object] = {"pubkey": pubkey, "first_seen": NOON, "last_seen": NOON}
    return WorkerRecord(**(fields | changes))  # type: ignore[arg-type]


# The score


def test_a_new_key_begins_at_nineteen_in_twenty_and_in_the_best_band() -> None:
    assert after().score == pytest.approx(0.95)
    assert after().band is Band.GOOD


@given(outcomes)
def test_the_score_is_above_zero_and_below_one_whatever_happened(history: list[str]) -> None:
    record = after(*history)
    assert 0 < record.score < 1
    assert record.band is band_of(record.score)


@given(outcomes)
def test_a_result_never_lowers_the_score(history: list[str]) -> None:
    assert after(*history, "completed").score >= after(*history).score


@given(outcomes, st.sampled_from(LOSSES))
def test_nothing_but_a_result_raises_the_score(history: list[str], loss: str) -> None:
    assert after(*history, loss).score < after(*history).score


@given(outcomes)
def test_old_sins_fade_under_new_results(history: list[str]) -> None:
    clean = after(*["completed"] * 1_500)
    assert after(*history, *["completed"] * 1_500).score == pytest.approx(clean.score, abs=0.005)


@given(outcomes)
def test_old_merits_fade_too(history: list[str]) -> None:
    assert after(*history, *["failed"] * 400).band is Band.POOR


def test_a_wrong_proof_weighs_as_five_failures() -> None:
    assert after("wrong_proof").bad == 5 * after("failed").bad


def test_a_key_leaves_the_best_band_after_a_few_failures_and_comes_back_by_results() -> None:
    assert after(*["failed"] * 2).band is Band.GOOD
    assert after(*["failed"] * 4).band is Band.FAIR
    assert after(*["failed"] * 20).band is Band.POOR
    assert after(*["failed"] * 20, *["completed"] * 150).band is Band.GOOD


@pytest.mark.parametrize(
    ("score", "band"),
    [(0.99, Band.GOOD), (0.85, Band.GOOD), (0.849, Band.FAIR), (0.6, Band.FAIR), (0.599, Band.POOR)],
)
def test_the_bands_begin_at_85_and_60_percent(score: float, band: Band) -> None:
    assert band_of(score) is band


@given(outcomes)
def test_a_change_of_the_band_is_told_and_nothing_else_is(history: list[str]) -> None:
    records = TrackRecords()
    record = records.of(A)
    for outcome in history:
        before = record.band
        if outcome == "completed":
            told = records.completed(record, None)
        else:
            told = getattr(records, outcome)(record)
        assert told is (record.band is not before)


# The counts


@given(outcomes)
def test_the_counts_never_fade(history: list[str]) -> None:
    record = after(*history)
    assert record.completed == history.count("completed")
    assert record.latency_sum == QUICK * history.count("completed")
    counted = (record.failed, record.rejected, record.lost, record.bad_receipts)
    assert counted == tuple(history.count(loss) for loss in LOSSES)


def test_a_key_is_clean_until_a_wrong_proof_or_a_lost_audit() -> None:
    assert after("failed", "lost", "completed").clean
    assert not after("wrong_proof").clean
    records = TrackRecords()
    assert records.audited(A, agreed=True).clean
    assert not records.audited(A, agreed=False).clean


def test_audits_are_no_part_of_the_score() -> None:
    records = TrackRecords()
    record = records.audited(A, agreed=False)
    assert (record.score, record.audits_disagreed) == (after().score, 1)


# What goes to disk


def test_only_what_changed_is_handed_out_and_only_once() -> None:
    records = TrackRecords()
    records.of(B)
    happen(records, records.of(A), "completed", "failed")
    (row,) = records.take_changed(NOON)
    assert (row.pubkey, row.completed, row.failed, row.first_seen, row.last_seen) == (A, 1, 1, NOON, NOON)
    assert records.take_changed(NOON) == ()


def test_the_first_time_stays_and_the_last_one_moves() -> None:
    records = TrackRecords()
    record = records.of(A)
    happen(records, record, "completed")
    records.take_changed(NOON)
    happen(records, record, "completed")
    (row,) = records.take_changed(UnixMs(NOON + 5))
    assert (row.first_seen, row.last_seen) == (NOON, NOON + 5)


def test_a_limit_leaves_the_newest_changes_for_later() -> None:
    records = TrackRecords()
    happen(records, records.of(A), "completed")
    happen(records, records.of(B), "completed")
    assert [row.pubkey for row in records.take_changed(NOON, 1)] == [A]
    assert [row.pubkey for row in records.take_changed(NOON, 1)] == [B]


@given(outcomes)
def test_a_restart_brings_back_counts_and_score(history: list[str]) -> None:
    before = TrackRecords()
    record = before.of(A)
    happen(before, record, *history)
    later = TrackRecords()
    later.load(before.take_changed(NOON), all_of_them=True)
    found = later.of(A)
    assert found.known
    assert (found.score, found.band) == (record.score, record.band)
    assert found.row(NOON) == record.row(NOON)


# Memory


def test_the_key_that_is_away_longest_is_forgotten_first_and_read_again_when_it_returns() -> None:
    records = TrackRecords(max_remembered=1)
    for pubkey in (A, B):
        happen(records, records.of(pubkey), "failed")
    stored = {row.pubkey: row for row in records.take_changed(NOON)}
    records.rest(A)
    records.rest(B)
    assert (records.find(A), len(records)) == (None, 1)
    back = records.of(A)
    assert not back.known
    records.learn(A, stored[A])
    assert (back.known, back.failed) == (True, 1)


def test_what_is_not_on_disk_yet_is_not_forgotten() -> None:
    records = TrackRecords(max_remembered=1)
    for pubkey in (A, B):
        happen(records, records.of(pubkey), "failed")
    records.rest(A)
    records.rest(B)
    assert records.find(A) is not None
    assert len(records.take_changed(NOON)) == 2


def test_a_key_that_is_still_being_read_is_not_written_over_what_the_disk_holds() -> None:
    records = TrackRecords()
    records.load([], all_of_them=False)
    record = records.of(A)
    happen(records, record, "completed")
    assert records.take_changed(NOON) == ()
    assert records.learn(A, a_row(completed=7, failed=30, bad=30.0))
    (row,) = records.take_changed(NOON)
    assert (row.completed, row.failed) == (8, 30)
    assert record.band is Band.POOR


def test_an_answer_of_the_disk_counts_once() -> None:
    records = TrackRecords()
    records.load([], all_of_them=False)
    record = records.of(A)
    records.learn(A, a_row(completed=7))
    records.learn(A, a_row(completed=7))
    assert record.completed == 7


def test_an_answer_about_a_key_that_was_forgotten_meanwhile_changes_nothing() -> None:
    assert not TrackRecords().learn(A, a_row(completed=7))
