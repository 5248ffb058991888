from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType, Tier
from compute_router.protocol.messages import (
    COORDINATOR_FRAME_TYPES,
    COORDINATOR_FRAMES,
    MAX_SLOTS,
    WORKER_FRAME_TYPES,
    WORKER_FRAMES,
    CoordinatorFrame,
    Frame,
    Heartbeat,
    JobAssign,
    JobComplete,
    Metrics,
    ReceiptSubmit,
    Register,
    WorkerFrame,
    encode_frame,
    registration_message,
)
from tests.protocol.strategies import structs

PUBKEY = "ab" * 32
OUTPUT_HASH = "cd" * 32
# What a reader of frames must be ready for, whatever the other side sends.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

REGISTER = {
    "type": "register",
    "provider_pubkey": PUBKEY,
    "provider_type": "DESKTOP",
    "capabilities": ["LLM_INFER", "TASK"],
}
HEARTBEAT = {
    "type": "heartbeat",
    "provider_pubkey": PUBKEY,
    "metrics": {"cpu_pct": 12.5, "mem_pct": 40, "active_jobs": 1},
}
COMPLETE = {"type": "job_complete", "job_id": "job-1", "output": {}, "output_hash": OUTPUT_HASH}
FAILED = {
    "type": "job_failed",
    "job_id": "job-1",
    "attempt": 1,
    "code": "ollama_error",
    "message": "",
    "retryable": True,
}

worker_frames = st.one_of([structs(frame) for frame in get_args(WorkerFrame)])
coordinator_frames = st.one_of([structs(frame) for frame in get_args(CoordinatorFrame)])


def without(frame: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in frame.items() if key != name}


def from_worker(frame: object) -> WorkerFrame:
    decoded: WorkerFrame = WORKER_FRAMES.decode(json.dumps(frame).encode())
    return decoded


@given(worker_frames)
def test_every_frame_of_a_worker_survives_the_wire(frame: WorkerFrame) -> None:
    assert WORKER_FRAMES.decode(encode_frame(frame)) == frame


@given(coordinator_frames)
def test_every_frame_of_the_coordinator_survives_the_wire(frame: CoordinatorFrame) -> None:
    assert COORDINATOR_FRAMES.decode(encode_frame(frame)) == frame


@given(worker_frames | coordinator_frames)
def test_every_frame_is_one_compact_json_object_that_says_its_type(frame: Frame) -> None:
    text = encode_frame(frame)
    assert text.startswith(b'{"type":"')
    assert json.loads(text)["type"] in WORKER_FRAME_TYPES | COORDINATOR_FRAME_TYPES


def test_the_types_of_the_frames_are_those_of_the_wire() -> None:
    assert {"register", "heartbeat", "job_complete", "job_reject", "receipt_submit"} <= WORKER_FRAME_TYPES
    assert {"register_ack", "heartbeat_ack", "job_assign", "error"} <= COORDINATOR_FRAME_TYPES
    assert len(WORKER_FRAME_TYPES) == len(get_args(WorkerFrame))
    assert len(COORDINATOR_FRAME_TYPES) == len(get_args(CoordinatorFrame))


def test_the_register_frame_of_a_worker_from_elsewhere_is_read_with_one_slot_and_no_proof() -> None:
    assert from_worker(REGISTER) == Register(
        provider_pubkey=PUBKEY, provider_type=ProviderType.DESKTOP, capabilities=["LLM_INFER", "TASK"]
    )
    frame = from_worker(REGISTER)
    assert isinstance(frame, Register)
    assert (frame.slots, frame.nonce, frame.signature, frame.active_jobs) == (1, None, None, [])


def test_a_capability_that_this_version_does_not_know_is_no_error() -> None:
    frame = from_worker(REGISTER | {"capabilities": ["TASK", "IMAGE_GEN"]})
    assert isinstance(frame, Register)
    assert frame.capabilities == ["TASK", "IMAGE_GEN"]


def test_a_pricing_hint_of_any_form_is_taken() -> None:
    for hint in [5, "cheap", {"fast": 1}, None]:
        assert isinstance(from_worker(REGISTER | {"pricing_hint": hint}), Register)


def test_a_heartbeat_needs_no_metrics() -> None:
    assert from_worker(without(HEARTBEAT, "metrics")) == Heartbeat(PUBKEY)
    assert from_worker(HEARTBEAT) == Heartbeat(PUBKEY, Metrics(12.5, 40, 1))


@pytest.mark.parametrize(
    "output", [b"1.0e5", b'{"b": 1, "a" :2}', b'"\\u00e9"', '"é"'.encode(), b"null", b"[ ]"]
)
def test_an_output_keeps_the_bytes_that_arrived(output: bytes) -> None:
    frame = WORKER_FRAMES.decode(
        b'{"type":"job_complete","job_id":"job-1","output": %s ,"output_hash":"%s"}'
        % (output, OUTPUT_HASH.encode())
    )
    assert isinstance(frame, JobComplete)
    assert bytes(frame.output) == output


def test_a_receipt_keeps_the_bytes_that_arrived() -> None:
    receipt = b'{"job_id":"job-1",  "ratio":1.50}'
    inside = b'"job_id":"job-1","output":1,"output_hash":"%s"' % OUTPUT_HASH.encode()
    complete = WORKER_FRAMES.decode(b'{"type":"job_complete",%s,"receipt":%s}' % (inside, receipt))
    submitted = WORKER_FRAMES.decode(b'{"type":"receipt_submit","receipt":%s,"signature":""}' % receipt)
    assert isinstance(complete, JobComplete)
    assert isinstance(submitted, ReceiptSubmit)
    assert complete.receipt is not None
    assert bytes(complete.receipt) == bytes(submitted.receipt) == receipt


@pytest.mark.parametrize("frame", [COMPLETE, COMPLETE | {"receipt": None, "receipt_signature": None}])
def test_a_completed_job_may_come_without_a_receipt(frame: dict[str, Any]) -> None:
    complete = from_worker(frame)
    assert isinstance(complete, JobComplete)
    assert complete.receipt is None
    assert complete.receipt_signature is None


def test_a_payload_reaches_the_worker_byte_for_byte() -> None:
    payload = b'{ "prompt":"\\u00e9", "max_tokens":5 }'
    sent = encode_frame(
        JobAssign(
            job_id="job-1",
            job_type=JobType.LLM_INFER,
            payload=msgspec.Raw(payload),
            policy=Tier.FAST,
            privacy_class=PrivacyClass.PUBLIC,
            user_id="ana",
        )
    )
    assert sent == (
        b'{"type":"job_assign","job_id":"job-1","job_type":"LLM_INFER","payload":%s,'
        b'"policy":"FAST","privacy_class":"PUBLIC","user_id":"ana"}' % payload
    )


@pytest.mark.parametrize("frame", [REGISTER, HEARTBEAT, COMPLETE, FAILED])
def test_unknown_fields_are_skipped_so_that_the_other_side_may_be_newer(frame: dict[str, Any]) -> None:
    newer = {"zeta": {"deep": [1, {"type": "x"}]}, **frame, "omega": None}
    assert from_worker(newer) == from_worker(frame)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"null",
        b"5",
        b'"register"',
        b"[]",
        b"{",
        b"{}",
        b"{]",
        b"register",
        b"NaN",
        b'{"type":null}',
        b'{"type":5}',
        b'{"type":""}',
        b'{"type":"REGISTER"}',
        b'{"type":"no_such_type"}',
        b'{"type":"job_assign"}',
        b'{"type":"register"}',
        b'{"type":"receipt_submit"}',
        b'{"type":"job_complete"}',
        b'{"type":"job_reject","job_id":"a","reason":""} {}',
        b'{"type":"job_reject","job_id":"a","reason":"',
        b'{"type":"job_reject","job_id":"a","reason":"\n"}',
        b'{"type":"job_reject","job_id":"a","reason":"\xff"}',
        b'\xef\xbb\xbf{"type":"job_reject","job_id":"a","reason":""}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_frame_is_refused(text: bytes) -> None:
    with pytest.raises(UNREADABLE):
        WORKER_FRAMES.decode(text)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("field", ["output", "metrics", "unknown"])
def test_json_nested_without_end_is_refused_and_harms_nobody(field: str, opening: bytes) -> None:
    with pytest.raises(UNREADABLE):
        WORKER_FRAMES.decode(b'{"type":"job_complete","%s":' % field.encode() + opening * 200_000)


@pytest.mark.parametrize(
    ("frame", "name"),
    [(frame, name) for frame in (REGISTER, COMPLETE, FAILED) for name in frame if name != "type"]
    + [(HEARTBEAT, "provider_pubkey")],
)
def test_a_frame_without_one_of_its_fields_is_refused(frame: dict[str, Any], name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=name):
        from_worker(without(frame, name))


@pytest.mark.parametrize(
    ("frame", "name", "value"),
    [
        (REGISTER, "provider_pubkey", None),
        (REGISTER, "provider_pubkey", 5),
        (REGISTER, "provider_pubkey", ""),
        (REGISTER, "provider_pubkey", "AB" * 32),
        (REGISTER, "provider_pubkey", "ab" * 31),
        (REGISTER, "provider_pubkey", "ab" * 32 + "\n"),
        (REGISTER, "provider_type", "LAPTOP"),
        (REGISTER, "provider_type", "desktop"),
        (REGISTER, "capabilities", None),
        (REGISTER, "capabilities", []),
        (REGISTER, "capabilities", "TASK"),
        (REGISTER, "capabilities", [5]),
        (REGISTER, "capabilities", [""]),
        (REGISTER, "capabilities", ["TASK"] * 33),
        (REGISTER, "slots", 0),
        (REGISTER, "slots", MAX_SLOTS + 1),
        (REGISTER, "slots", "1"),
        (REGISTER, "slots", 1.5),
        (REGISTER, "slots", True),
        (REGISTER, "models", [{"digest": "x"}]),
        (REGISTER, "models", [{"name": "x" * 256}] * 65),
        (REGISTER, "models", [{"name": "x", "digest": "x" * 257}]),
        (REGISTER, "active_jobs", [{"job_id": "a", "attempt": 0}]),
        (REGISTER, "active_jobs", ["a"]),
        (REGISTER, "nonce", 5),
        (HEARTBEAT, "provider_pubkey", "ab"),
        (HEARTBEAT, "metrics", []),
        (HEARTBEAT, "metrics", {"cpu_pct": 1, "mem_pct": 1}),
        (HEARTBEAT, "metrics", {"cpu_pct": -1, "mem_pct": 1, "active_jobs": 1}),
        (HEARTBEAT, "metrics", {"cpu_pct": "1", "mem_pct": 1, "active_jobs": 1}),
        (HEARTBEAT, "metrics", {"cpu_pct": 1, "mem_pct": 101, "active_jobs": 1}),
        (HEARTBEAT, "metrics", {"cpu_pct": 1, "mem_pct": 1, "active_jobs": 1.5}),
        (COMPLETE, "job_id", ""),
        (COMPLETE, "job_id", "x" * 129),
        (COMPLETE, "job_id", 5),
        (COMPLETE, "output_hash", None),
        (COMPLETE, "output_hash", "sha256:" + OUTPUT_HASH),
        (COMPLETE, "output_hash", OUTPUT_HASH.upper()),
        (COMPLETE, "receipt_signature", 5),
        (COMPLETE, "receipt_signature", "A" * 1025),
        (COMPLETE, "attempt", 0),
        (COMPLETE, "attempt", "1"),
        (FAILED, "retryable", "yes"),
        (FAILED, "retryable", 1),
        (FAILED, "code", ""),
        (FAILED, "message", "x" * 4097),
    ],
)
def test_a_field_of_a_wrong_type_or_value_is_refused_and_never_read_as_a_default(
    frame: dict[str, Any], name: str, value: object
) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_worker(frame | {name: value})


def test_the_bytes_that_prove_a_key_are_bound_to_purpose_network_and_connection() -> None:
    message = registration_message("eip155:10143", "nonce", PUBKEY)
    assert message == f"compute-router/register/v1\neip155:10143\nnonce\n{PUBKEY}".encode()
    assert not message.startswith(b"{"), "a registration can never be passed off as a receipt"
