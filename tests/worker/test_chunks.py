"""Pieces of an answer are gathered into few chunks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from compute_router.worker.chunks import CHUNK_EVERY, ChunkBatch
from compute_router.worker.session_events import MonotonicMs


def at(ms: int) -> MonotonicMs:
    return MonotonicMs(10_000 + ms)


def test_the_first_piece_goes_out_at_once() -> None:
    assert ChunkBatch().add("Hel", at(0)) == "Hel"


def test_later_pieces_wait_for_each_other() -> None:
    batch = ChunkBatch()
    batch.add("a", at(0))
    assert batch.add("b", at(1)) == ""
    assert batch.add("c", at(CHUNK_EVERY - 1)) == ""
    assert batch.add("d", at(CHUNK_EVERY)) == "bcd"


def test_a_model_that_has_said_nothing_yet_holds_up_nothing() -> None:
    batch = ChunkBatch()
    assert batch.add("", at(0)) == ""
    assert batch.add("a", at(1)) == "a"


def test_what_was_not_sent_is_the_rest() -> None:
    batch = ChunkBatch()
    batch.add("a", at(0))
    batch.add("b", at(1))
    assert batch.rest() == "b"
    assert batch.rest() == ""


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 400))))
def test_nothing_is_lost_and_no_two_chunks_come_too_soon(pieces: list[tuple[str, int]]) -> None:
    batch, now, sent = ChunkBatch(), 0, list[tuple[int, str]]()
    for text, pause in pieces:
        now += pause
        if chunk := batch.add(text, at(now)):
            sent.append((now, chunk))
    assert "".join(chunk for _, chunk in sent) + batch.rest() == "".join(text for text, _ in pieces)
    assert all(later - earlier >= CHUNK_EVERY for (earlier, _), (later, _) in pairwise(sent))
