"""Whatever arrives as HTTP: JSON with a stable code or a clean close, nothing stored, nobody disturbed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given

from tests.fuzz.stage import STABLE_CODES, Stage, stage
from tests.fuzz.strategies import noise, requests
from tests.transport.harness import LLM, TASK
from tests.transport.raw_http import connect

BARE_400 = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def test_every_request_gets_one_answer_of_a_known_kind_and_none_is_taken_by_mistake(tmp_path: Path) -> None:
    with stage(tmp_path) as here:

        @given(sent=requests())
        def example(sent: tuple[str, bytes]) -> None:
            here.run(asked(here, *sent))

        example()


def test_noise_ends_its_own_connection_at_most(tmp_path: Path) -> None:
    with stage(tmp_path) as here:

        @given(sent=noise)
        def example(sent: bytes) -> None:
            here.run(shouted(here, sent))

        example()


async def asked(here: Stage, method: str, sent: bytes) -> None:
    async with connect(here.router.port) as connection:
        connection.send(sent)
        try:
            answer = await connection.answer(has_body=method != "HEAD")
        except asyncio.IncompleteReadError as end:
            broken_off = end.partial
        else:
            broken_off = b""
            if answer.status == 101:
                # A whole handshake after all; the socket ends with this connection.
                pass
            elif not answer.headers:
                assert answer.status == 400
                assert await connection.rest() == b""
            elif method != "HEAD":
                check_answer(here, sent, answer.status, answer.json())
    assert broken_off == b"", "an answer that breaks off"
    await here.nobody_noticed()


def check_answer(here: Stage, sent: bytes, status: int, body: Any) -> None:
    if status >= 400:
        assert body["error"] in STABLE_CODES, body
        assert 0 < len(body["message"]) < 500
        if "job_id" in body:
            # A PRIVATE job of a user without workers is kept as a failed one.
            here.forget_what_was_stored()
    elif "user_token" in body or "pairing_code" in body or "job_id" in body:
        assert is_right(sent), "it was taken, and should not have been"
        here.forget_what_was_stored()
    else:
        assert status == 200


def is_right(sent: bytes) -> bool:
    """A second judgement on a body that was taken, by other means than the coordinator's."""
    head, _, raw = sent.partition(b"\r\n\r\n")
    body = json.loads(raw)
    assert all(isinstance(name, str) for name in body)
    if b"/v1/trust/create" in head:
        return set(body) == {"user_id"} and 0 < len(body["user_id"]) <= 256
    payload = body["payload"]
    known = {*TASK, "privacy_class", "model", "ttl_s", "deadline_s"}
    of_kind = {"TASK": TASK, "LLM_INFER": LLM}[body["job_type"]]["payload"]
    return (
        set(body) <= known
        and body.get("privacy_class", "PUBLIC") in ("PUBLIC", "PRIVATE")
        and 0 < len(body["user_id"]) <= 256
        and set(of_kind) <= set(payload)
        and all(isinstance(payload[name], str) and payload[name] for name in of_kind)
    )


async def shouted(here: Stage, sent: bytes) -> None:
    async with connect(here.router.port) as connection:
        connection.send(sent)
        connection.end()
        said = await connection.rest()
    while said:
        said = cut_answer(said)
    await here.bystanders_are_served()
    # A right commit may hide in the noise; it is carried through though its client has left.
    for user_id, payload in here.router.query("SELECT user_id, payload FROM jobs"):
        assert 0 < len(user_id) <= 256
        assert set(json.loads(payload)) >= set(TASK["payload"])


def cut_answer(said: bytes) -> bytes:
    """Check the first answer of several, and return what comes after it."""
    if said.startswith(BARE_400):
        assert said == BARE_400, "something after the end"
        return b""
    if said.startswith(b"HTTP/1.1 101 "):
        # What follows are frames.
        return b""
    head, _, rest = said.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        return rest
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    size = int(fields[b"Content-Length"])
    body = json.loads(rest[:size])
    assert head.startswith(b"HTTP/1.1 2") or body["error"] in STABLE_CODES
    return rest[size:]
