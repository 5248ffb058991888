"""Whatever a worker sends: an error frame, nothing changed, its own and all other sockets live on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compute_router.protocol.units import DurationMs
from tests.transport.harness import QUICK, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.raw_websocket import BINARY, TEXT
from tests.transport.worker_client import SUMMARY, WorkerClient, worker

KEY = "a" * 64
HASH = "0" * 64
DEEP = 100_000

REGISTER = {"type": "register", "provider_pubkey": KEY, "provider_type": "DESKTOP", "capabilities": ["TASK"]}
HEARTBEAT = {"type": "heartbeat", "provider_pubkey": KEY}
COMPLETE = {"type": "job_complete", "job_id": "j", "output": {}, "output_hash": HASH}
REJECT = {"type": "job_reject", "job_id": "j", "reason": "no"}
FAILED = {"type": "job_failed", "job_id": "j", "attempt": 1, "code": "c", "message": "m", "retryable": True}
STARTED = {"type": "job_started", "job_id": "j", "attempt": 1}
RECEIPT = {"type": "receipt_submit", "receipt": {}, "signature": "s"}

NO_FRAMES: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"5",
    b'"register"',
    b"true",
    b"[]",
    b"{",
    b"{}",
    b"[{}]",
    b'{"type":null}',
    b'{"type":5}',
    b'{"type":["register"]}',
    b'{"kind":"register"}',
    b'{"type":"register"',
    json.dumps(REGISTER).encode() + b"x",
    b"\x00",
    b"\xef\xbb\xbf" + json.dumps(HEARTBEAT).encode(),
    b"[" * DEEP,
    b'{"type":"job_complete","job_id":"j","output":' + b"[" * DEEP + b"]" * DEEP + b',"output_hash":"0"}',
    rb'{"type":"job_complete","job_id":"j","output":{"error":"\ud800"},"output_hash":"'
    + HASH.encode()
    + b'"}',
]

UNKNOWN_TYPES = ["", "REGISTER", "register ", "job_assign", "register_ack", "x" * 100_000, "\u0000"]


def wrong(frame: dict[str, Any], key: str, *values: Any) -> list[dict[str, Any]]:
    """The frame without a field, and with each of these values in it."""
    missing = {name: value for name, value in frame.items() if name != key}
    return [missing, *(frame | {key: value} for value in values)]


WRONG_FIELDS: list[dict[str, Any]] = [
    *wrong(REGISTER, "provider_pubkey", None, 5, "", "a" * 63, "a" * 65, "A" * 64, "z" * 64),
    *wrong(REGISTER, "provider_type", None, 5, "", "desktop", "TOASTER"),
    *wrong(REGISTER, "capabilities", None, "TASK", [], {}, [None], [5], [""], ["x" * 65], ["TASK"] * 33),
    *wrong(REGISTER | {"slots": 1}, "slots", 0, -1, 65, 1.5, "1", None)[1:],
    *wrong(REGISTER | {"models": []}, "models", None, "m", [5], [{}], [{"name": ""}], [{"name": "x\n"}])[1:],
    REGISTER | {"models": [{"name": "m", "digest": "d" * 257}]},
    REGISTER | {"models": [{"name": f"{number:0256}"} for number in range(65)]},
    REGISTER | {"models": [{"name": "😀" * 250} for _ in range(17)]},
    *wrong(REGISTER | {"active_jobs": []}, "active_jobs", None, ["j"], [{"job_id": "j"}], [{"attempt": 1}])[
        1:
    ],
    *wrong(REGISTER | {"nonce": ""}, "nonce", 5, "x" * 2000)[1:],
    *wrong(REGISTER | {"signature": ""}, "signature", 5, [])[1:],
    *wrong(HEARTBEAT, "provider_pubkey", None, 5, "abc"),
    *wrong(HEARTBEAT | {"metrics": None}, "metrics", 5, [], {}, {"cpu_pct": 5})[1:],
    HEARTBEAT | {"metrics": {"cpu_pct": -1, "mem_pct": 5, "active_jobs": 0}},
    HEARTBEAT | {"metrics": {"cpu_pct": 5, "mem_pct": 101, "active_jobs": 0}},
    HEARTBEAT | {"metrics": {"cpu_pct": "5", "mem_pct": 5, "active_jobs": 0}},
    HEARTBEAT | {"metrics": {"cpu_pct": 5, "mem_pct": 5, "active_jobs": -1}},
    *wrong(COMPLETE, "job_id", None, 5, "", "x" * 129),
    *wrong(COMPLETE, "output_hash", None, 5, "", "A" * 64, "0" * 63),
    wrong(COMPLETE, "output")[0],
    *wrong(COMPLETE | {"attempt": 1}, "attempt", 0, -1, "1", 1.5, 10**9)[1:],
    *wrong(COMPLETE | {"receipt_signature": ""}, "receipt_signature", 5, "x" * 2000)[1:],
    *wrong(REJECT, "job_id", None, 5, ""),
    *wrong(REJECT, "reason", None, 5, "x" * 5000),
    *wrong(FAILED, "attempt", None, 0, "1"),
    *wrong(FAILED, "code", None, "", "x" * 65),
    *wrong(FAILED, "message", None, 5),
    *wrong(FAILED, "retryable", None, "true", 1),
    *wrong(STARTED, "attempt", None, 0),
    {"type": "receipt_submit"},
    *wrong(RECEIPT, "receipt"),
    *wrong(RECEIPT, "signature", None, 5, "x" * 2000),
]


async def refused(
    client: WorkerClient, code: str, sent: dict[str, Any] | str | bytes, opcode: int = TEXT
) -> None:
    """The frame is answered with this error, in few words, and the socket lives on."""
    answer = await client.ask(sent, opcode)
    assert (answer["type"], answer["code"]) == ("error", code), answer
    assert 0 < len(answer["message"]) < 500


@pytest.mark.parametrize("registered", [False, True])
async def test_what_is_no_frame_is_refused(tmp_path: Path, registered: bool) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        if registered:
            await client.register()
        for sent in NO_FRAMES:
            await refused(client, "PARSE_ERROR", sent)
        if not registered:
            await client.register()
        await client.hears_nothing()
        assert await router.workers_online() == 1


async def test_frames_of_unknown_type_are_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        for frame_type in UNKNOWN_TYPES:
            await refused(client, "UNKNOWN_MSG", {"type": frame_type})
        await client.hears_nothing()


@pytest.mark.parametrize("registered", [False, True])
async def test_frames_with_a_wrong_field_are_refused(tmp_path: Path, registered: bool) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        if registered:
            await client.register()
        for frame in WRONG_FIELDS:
            await refused(client, "INVALID_MSG", frame)
        assert await router.workers_online() == int(registered)


async def test_before_registration_nothing_else_is_heard(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        for frame in (HEARTBEAT, COMPLETE, REJECT, FAILED, STARTED, RECEIPT):
            await refused(client, "NOT_REGISTERED", frame)
        assert await router.workers_online() == 0


async def test_unknown_fields_and_free_hints_are_no_error(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        for hint in (None, 5, "cheap", {"usd": 1}, [1]):
            await client.register(pricing_hint=hint, version="9", capabilities=["TASK", "VIDEO"])
        metrics = {"cpu_pct": 12.5, "mem_pct": 50, "active_jobs": 0, "gpu": 1}
        frame = {"type": "heartbeat", "provider_pubkey": client.pubkey, "metrics": metrics, "more": 1}
        assert await client.ask(frame) == {"type": "heartbeat_ack", "status": "ok"}


async def test_a_worker_that_can_do_nothing_is_not_registered(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        ack = await client.ask(client.registration(capabilities=["VIDEO"]))
        assert (ack["type"], ack["status"]) == ("register_ack", "error")
        assert ack["error"]
        assert await router.workers_online() == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "0" * 64},
        {"nonce": None},
        {"signature": None},
        {"signature": ""},
        {"signature": "x"},
        {"signature": "A" * 86 + "=="},
        {"provider_pubkey": "b" * 64},
    ],
)
async def test_a_false_proof_of_the_key_is_not_registered(tmp_path: Path, lie: dict[str, Any]) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        ack = await client.ask(client.registration(proven=True, **lie))
        assert (ack["type"], ack["status"]) == ("register_ack", "error")
        assert await router.workers_online() == 0


async def test_the_proof_of_one_connection_is_worth_nothing_on_another(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as first, worker(router.port) as second:
        stolen = first.registration(proven=True)
        assert (await second.ask(stolen))["status"] == "error"


async def test_a_heartbeat_for_another_key_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        await refused(client, "WRONG_KEY", HEARTBEAT)


async def test_a_binary_frame_must_be_utf8(tmp_path: Path) -> None:
    """Raw parts of a frame are passed on unread, so nothing else would look at their encoding."""
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.receive("job_assign")
        receipt = client.receipt(job_id)[:-1] + b',"note":"\xff"}'
        for output in (b'{"error":"\xff"}', b'{"error":["\xff"]}', b'{"\xff":1}', b'"\xed\xa0\x80"'):
            await refused(client, "PARSE_ERROR", client.completion(job_id, output), BINARY)
        await refused(client, "PARSE_ERROR", client.completion(job_id, receipt=receipt), BINARY)
        assert (await router.job(job_id))["status"] == "assigned"
        ack = await client.ask(client.completion(job_id), BINARY)
        assert ack["status"] == "accepted", "a client may send its JSON in binary frames"


async def test_a_text_frame_that_is_no_utf8_ends_its_socket_only(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as bystander,
        worker(router.port) as client,
    ):
        await bystander.register()
        client.send(b'{"type":"\xff"}')
        await client.closed()
        await bystander.hears_nothing()


async def test_a_frame_in_fragments_is_put_together(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        frame = json.dumps(client.registration()).encode()
        client.socket.send(frame[:10], TEXT, final=False)
        client.socket.send(frame[10:20], 0, final=False)
        client.socket.send(frame[20:], 0)
        assert (await client.receive("register_ack"))["status"] == "ok"


@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_frame_of_two_mebibytes_ends_its_socket_only(tmp_path: Path, fragments: int) -> None:
    policy = msgspec.structs.replace(QUICK, reconnect_grace=DurationMs(10))
    async with (
        coordinator(tmp_path, policy=policy) as router,
        worker(router.port) as bystander,
        worker(router.port) as client,
    ):
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        await bystander.register(proven=True)
        part = b"x" * (2 * 1024 * 1024 // fragments)
        for index in range(fragments):
            client.socket.send(part, TEXT if index == 0 else 0, final=index == fragments - 1)
        assert await client.closed() in (1009, None)
        await bystander.serve(job_id)


async def test_a_result_as_large_as_the_limit_is_taken(tmp_path: Path) -> None:
    output = json.dumps({"text": "x" * 1_000_000, "model": "m"}, separators=(",", ":")).encode()
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.serve(job_id, output)
        assert (await router.job(job_id))["result"] == json.loads(output)


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
async def test_an_unknown_opcode_disturbs_nobody_else(tmp_path: Path, opcode: int) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as bystander,
        worker(router.port) as client,
    ):
        await bystander.register()
        client.send(b"x", opcode)
        await bystander.hears_nothing()


async def test_raw_noise_after_the_handshake_disturbs_nobody_else(tmp_path: Path) -> None:
    handshake = request(
        "GET",
        "/",
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
    )
    async with coordinator(tmp_path) as router, worker(router.port) as bystander:
        await bystander.register()
        # Reserved bits, a control frame that is too long, and a length with its top bit set.
        for noise in (b"\xff" * 40, b"\x89\xfe\x00\x80" + b"\x00" * 132, b"\x81\xff\xff" + b"\xff" * 30):
            async with connect(router.port) as connection:
                connection.send(handshake + noise)
                await connection.answer()
                async with asyncio.timeout(5):
                    await connection.rest()
        await bystander.hears_nothing()


async def test_a_flood_of_bad_frames_does_not_starve_the_others(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as honest, worker(router.port) as noisy:
        await honest.register(proven=True)
        for _ in range(2000):
            noisy.send("null")
        job_id = await router.commit()
        await honest.serve(job_id, SUMMARY)
        assert (await router.job(job_id))["status"] == "completed"
