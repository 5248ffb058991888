"""Results that wait for an acknowledgement."""

from __future__ import annotations

from compute_router.worker.jobs import AttemptKey
from compute_router.worker.outbox import MAX_BYTES, MAX_RESULTS, MAX_SENDS, Outbox


def test_a_result_is_held_until_it_is_acknowledged() -> None:
    outbox, key = Outbox(), AttemptKey("job", 1)
    outbox.put(key, b"frame", acknowledged=True)
    assert outbox.send(key) == [b"frame"]
    assert key in outbox
    outbox.acknowledge("job", 1)
    assert outbox.attempts() == []


def test_an_acknowledgement_of_another_attempt_changes_nothing() -> None:
    outbox, key = Outbox(), AttemptKey("job", 1)
    outbox.put(key, b"frame", acknowledged=True)
    outbox.acknowledge("job", 2)
    outbox.acknowledge("other", 1)
    assert key in outbox


def test_an_acknowledgement_without_attempt_is_for_all_attempts_of_the_job() -> None:
    outbox = Outbox()
    for key in (AttemptKey("job", 1), AttemptKey("job", 2), AttemptKey("other", 1)):
        outbox.put(key, b"frame", acknowledged=True)
    outbox.acknowledge("job", None)
    assert outbox.attempts() == [AttemptKey("other", 1)]


def test_a_frame_that_nobody_acknowledges_goes_out_once() -> None:
    outbox, key = Outbox(), AttemptKey("job", None)
    outbox.put(key, b"frame", acknowledged=False)
    assert outbox.send(key) == [b"frame"]
    assert outbox.send(key) == []


def test_a_result_that_is_never_acknowledged_is_not_sent_for_ever() -> None:
    outbox, key = Outbox(), AttemptKey("job", 1)
    outbox.put(key, b"frame", acknowledged=True)
    sends = [outbox.send(key) for _ in range(MAX_SENDS + 3)]
    assert sends == [[b"frame"]] * MAX_SENDS + [[]] * 3


def test_the_oldest_results_are_given_up_when_there_are_too_many() -> None:
    outbox = Outbox()
    keys = [AttemptKey(f"job-{number}", 1) for number in range(MAX_RESULTS + 2)]
    for key in keys:
        outbox.put(key, b"frame", acknowledged=True)
    assert outbox.attempts() == keys[2:]


def test_the_oldest_results_are_given_up_when_they_are_too_large() -> None:
    outbox, half = Outbox(), b"x" * (MAX_BYTES // 2)
    keys = [AttemptKey(f"job-{number}", 1) for number in range(3)]
    for key in keys:
        outbox.put(key, half, acknowledged=True)
    assert outbox.attempts() == keys[1:]


def test_putting_the_same_attempt_again_replaces_its_frame() -> None:
    outbox, key = Outbox(), AttemptKey("job", 1)
    outbox.put(key, b"old", acknowledged=True)
    outbox.put(key, b"new", acknowledged=True)
    assert outbox.send(key) == [b"new"]
    assert len(outbox) == 1
