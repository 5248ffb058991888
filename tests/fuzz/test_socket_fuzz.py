"""Whatever a worker sends: no job of others moves, no wrong result is taken, all other sockets live on."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.messages import registration_message
from compute_router.protocol.receipts import sha256_hex
from tests.fuzz.stage import Stage, stage
from tests.fuzz.strategies import frames, frames_about
from tests.transport.raw_websocket import BINARY, CLOSE, PONG, TEXT, RawWebSocket
from tests.transport.worker_client import SUMMARY, WorkerClient, worker

ANSWERS = {"challenge", "register_ack", "heartbeat_ack", "job_ack", "job_cancel", "error"}
OTHER_KEY = "b" * 64


@st.composite
def raw_frames(draw: st.DrawFn) -> bytes:
    """A frame of RFC 6455 with any bits, a length that may be a lie, and a mask that may be missing."""
    data = draw(st.binary(max_size=150))
    first = draw(st.integers(0, 255))
    claimed = draw(st.sampled_from([len(data)] * 4 + [0, 125, 65_535, 1 << 40, (1 << 64) - 1]))
    masked = 0x80 if draw(st.integers(0, 5)) else 0
    if claimed < 126:
        head = struct.pack("!BB", first, masked | claimed)
    elif claimed < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, claimed)
    else:
        head = struct.pack("!BBQ", first, masked | 127, claimed)
    return head + (draw(st.binary(min_size=4, max_size=4)) if masked else b"") + data


def test_frames_that_break_the_websocket_end_their_own_connection_at_most(tmp_path: Path) -> None:
    with stage(tmp_path) as here:

        @given(sent=st.lists(raw_frames(), min_size=1, max_size=4))
        def example(sent: list[bytes]) -> None:
            here.run(broken(here, sent))

        example()


async def broken(here: Stage, sent: list[bytes]) -> None:
    socket = await RawWebSocket.open(here.router.port)
    try:
        socket.send_raw(b"".join(sent))
        # A close frame after it all: whatever is complete is answered before the end.
        socket.send(b"", CLOSE)
        socket.end()
        while True:
            opcode, data = await socket.receive()
            if opcode == TEXT:
                assert json.loads(data)["type"] in ANSWERS
            else:
                assert opcode in (CLOSE, PONG)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        socket.abort()
    await here.nobody_noticed()


def test_frames_that_are_nearly_right_are_answered_and_move_no_job_of_others(tmp_path: Path) -> None:
    with stage(tmp_path) as here:
        keys = (here.bystander.pubkey, OTHER_KEY)
        valid = [frame for key in keys for frame in frames_about(here.job_id, 1, key)]

        @given(
            sent=st.lists(frames(valid), min_size=1, max_size=5), registered=st.booleans(), text=st.booleans()
        )
        def example(sent: list[bytes], registered: bool, text: bool) -> None:
            here.run(nearly_right(here, sent, registered=registered, opcode=TEXT if text else BINARY))

        example()


async def nearly_right(here: Stage, sent: list[bytes], *, registered: bool, opcode: int) -> None:
    async with worker(here.router.port) as attacker:
        if registered:
            await attacker.register(proven=True, slots=2)
        for frame in sent:
            attacker.send(frame, opcode)
        await ends_cleanly(attacker)
    await here.nobody_noticed()


async def ends_cleanly(attacker: WorkerClient) -> None:
    """It hears JSON frames of known types only, until its own end or an answer to its last frame."""
    attacker.send({"type": "no such type"})
    while True:
        heard = asyncio.ensure_future(attacker.receive())
        ended = asyncio.ensure_future(attacker.closed())
        await asyncio.wait([heard, ended], return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
            # Tornado ends a connection with text that is no UTF-8 without a code.
            assert await ended in (None, 1002, 1003, 1007, 1008, 1009, 4001)
            return
        ended.cancel()
        frame = await heard
        assert frame["type"] in ANSWERS, frame
        if frame == {"type": "error", "code": "UNKNOWN_MSG", "message": frame.get("message")}:
            return


def test_no_sequence_of_wrong_answers_completes_a_job(tmp_path: Path) -> None:
    with stage(tmp_path) as here:
        kinds = st.sampled_from(WRONG_ANSWERS)

        @given(sent=st.lists(kinds, min_size=1, max_size=6), proven=st.booleans())
        def example(sent: list[str], proven: bool) -> None:
            here.run(wrong_answers(here, sent, proven=proven))

        example()


WRONG_ANSWERS = [
    "hash of other bytes", "hash in upper case", "output encoded anew", "receipt for another job",
    "receipt of another key", "receipt reordered", "receipt with spaces", "signature of another key",
    "signature cut short", "no signature", "another attempt", "another job", "receipt without completion",
    "error as output", "started", "registered again",
]  # fmt: skip


def wrong_answer(kind: str, client: WorkerClient, job_id: str, attempt: int, other: WorkerClient) -> bytes:
    """A frame that must not complete the job, though only one thing about it is wrong."""
    right = client.receipt(job_id)

    def complete(receipt: bytes = right, **changes: Any) -> bytes:
        return client.completion(job_id, SUMMARY, receipt, **({"attempt": attempt} | changes))

    match kind:
        case "hash of other bytes":
            return complete(output_hash=sha256_hex(b"{}"))
        case "hash in upper case":
            return complete(output_hash=sha256_hex(SUMMARY).upper())
        case "output encoded anew":
            return complete().replace(SUMMARY, json.dumps(json.loads(SUMMARY)).encode())
        case "receipt for another job":
            return complete(client.receipt("another"))
        case "receipt of another key":
            return complete(client.receipt(job_id, provider_pubkey=other.pubkey))
        case "receipt reordered":
            fields = dict(reversed(json.loads(right).items()))
            return complete(receipt_signature=client.sign(right)).replace(
                right, json.dumps(fields, separators=(",", ":")).encode()
            )
        case "receipt with spaces":
            return complete().replace(right, json.dumps(json.loads(right)).encode())
        case "signature of another key":
            return complete(receipt_signature=other.sign(right))
        case "signature cut short":
            return complete(receipt_signature=client.sign(right)[:-8])
        case "no signature":
            return complete(receipt_signature=None)
        case "another attempt":
            return complete(attempt=attempt + 100)
        case "another job":
            return client.completion("another", attempt=attempt)
        case "receipt without completion":
            fields = {"receipt": json.loads(right), "signature": client.sign(right)}
            return json.dumps({"type": "receipt_submit"} | fields).encode()
        case "error as output":
            output = b'{"error":"it broke"}'
            return client.completion(job_id, output, attempt=attempt, output_hash=sha256_hex(SUMMARY))
        case "started":
            return json.dumps({"type": "job_started", "job_id": job_id, "attempt": attempt}).encode()
        case _:
            message = registration_message(client.challenge["network"], "old nonce", client.pubkey)
            frame = client.registration() | {"nonce": "old nonce", "signature": client.sign(message)}
            return json.dumps(frame).encode()


async def wrong_answers(here: Stage, sent: list[str], *, proven: bool) -> None:
    async with worker(here.router.port) as attacker:
        await attacker.register(proven=proven)
        job_id = await here.router.commit(user_id="carol")
        # Only after the coordinator settled with an unproven worker does it get jobs.
        assignment = await attacker.receive("job_assign")
        assert assignment["job_id"] == job_id
        for kind in sent:
            attacker.send(wrong_answer(kind, attacker, job_id, assignment["attempt"], here.bystander))
        attacker.send({"type": "no such type"})
        while (await attacker.receive()).get("code") != "UNKNOWN_MSG":
            pass
        job = await here.router.job(job_id)
        assert job["status"] != "completed", job
        assert job["receipt"] is None
    await here.router.http.delete(f"/v1/jobs/{job_id}")
    here.forget_what_was_stored()
    await here.nobody_noticed()
