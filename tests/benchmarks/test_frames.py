"""The load generator's own WebSocket framing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import BenchmarkError
from benchmarks.frames import FrameReader, Opcode, client_frame


def server_frame(payload: bytes) -> bytes:
    """An unmasked text frame, from RFC 6455 section 5.2."""
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    if len(payload) < 65_536:
        return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
    return b"\x81\x7f" + len(payload).to_bytes(8, "big") + payload


def test_a_short_client_frame_is_final_masked_text() -> None:
    assert client_frame(b"Hi") == b"\x81\x82\0\0\0\0Hi"


def test_a_client_frame_of_126_bytes_has_a_two_byte_length() -> None:
    assert client_frame(bytes(126))[:4] == b"\x81\xfe\x00\x7e"


def test_a_client_frame_of_65_536_bytes_has_an_eight_byte_length() -> None:
    assert client_frame(bytes(65_536))[:10] == b"\x81\xff" + (65_536).to_bytes(8, "big")


@given(
    payloads=st.lists(st.sampled_from([b"", b"a", b"b" * 125, b"c" * 126, b"d" * 65_536]), max_size=4),
    piece=st.integers(min_value=1, max_value=70_000),
)
def test_frames_are_the_same_however_the_bytes_were_split(payloads: list[bytes], piece: int) -> None:
    stream = b"".join(map(server_frame, payloads))
    piece = max(piece, len(stream) // 200)
    reader = FrameReader()
    read = [frame for at in range(0, len(stream), piece) for frame in reader.feed(stream[at : at + piece])]
    assert read == [(Opcode.TEXT, payload) for payload in payloads]


@pytest.mark.parametrize(
    "first_byte", [b"\x01", b"\x80", b"\x82"], ids=["fragment", "continuation", "binary"]
)
def test_a_frame_that_the_coordinator_never_sends_is_refused(first_byte: bytes) -> None:
    with pytest.raises(BenchmarkError):
        list(FrameReader().feed(first_byte + b"\x00"))
