"""A commit names each key once, whatever its spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.errors import RequestError
from compute_router.protocol.http_api import CommitRequest
from compute_router.transport import repeated_keys
from compute_router.transport.repeated_keys import refuse_repeated_keys
from tests.transport.harness import TASK, coordinator

VALID = json.dumps(TASK | {"privacy_class": "PRIVATE"}).encode()
PAYLOAD = json.dumps(TASK["payload"]).encode()
PUBLIC = b',"privacy_class":"PUBLIC"}'

REPEATED = {
    "at the end": VALID[:-1] + PUBLIC,
    "at the start": b'{"privacy_class":"PUBLIC",' + VALID[1:],
    "spelt with an escape": VALID[:-1] + rb',"privacy\u005fclass":"PUBLIC"}',
    "both spelt with escapes": VALID.replace(b"privacy_class", rb"\u0070rivacy_class")[:-1]
    + rb',"privacy\u005Fclass":"PUBLIC"}',
    "with the same value": VALID[:-1] + b',"privacy_class":"PRIVATE"}',
    "the user": VALID[:-1] + b',"user_id":"bob"}',
    "the payload": VALID[:-1] + b',"payload":{"task_type":"classify","input":"x"}}',
    "the same payload": VALID[:-1] + b',"payload":' + PAYLOAD + b"}",
    "a payload that holds the other": b'{"payload":{"a":'
    + json.dumps(TASK["payload"]).encode()
    + b"},"
    + VALID[1:],
    "behind a number that no reader bears": b'{"payload":{"a":' + b"9" * 5000 + b"}," + VALID[1:],
}


@pytest.mark.parametrize("body", REPEATED.values(), ids=REPEATED.keys())
async def test_a_commit_with_a_key_twice_is_refused_and_stores_nothing(tmp_path: Path, body: bytes) -> None:
    async with coordinator(tmp_path) as router:
        headers = {"Content-Type": "application/json"}
        answer = await router.http.post("/v1/jobs/commit/cheap", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert router.count("jobs") == 0


@pytest.mark.parametrize(
    "text", ['"privacy_class"', '"user_id" "user_id"', "\\", '","privacy_class":"PUBLIC"']
)
def test_texts_that_look_like_keys_are_none(text: str) -> None:
    for fields in (
        {"user_id": text},
        {"payload": {"task_type": "classify", "input": text}},
        {"user_id": "payload"},
    ):
        body = json.dumps(TASK | fields).encode()
        payload = bytes(msgspec.json.decode(body, type=CommitRequest).payload)
        refuse_repeated_keys(body, payload)


def test_an_ordinary_body_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_keys, "_read_again", lambda body: pytest.fail("read again"))
    body = json.dumps(TASK | {"payload": {"input": 'lines\n"privacy_class" "privacy_class"'}}).encode()
    refuse_repeated_keys(body, bytes(msgspec.json.decode(body, type=CommitRequest).payload))


NAMES = st.sampled_from(["job_type", "user_id", "payload", "privacy_class", "model"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "job_type": st.just("TASK"),
    "user_id": st.sampled_from(["a", "payload", 'x","user_id":"y', '{"task_type":"classify","input":"x"}']),
    "payload": st.sampled_from(
        [{"task_type": "classify", "input": "x"}, {"task_type": "classify", "input": "{}"}]
    ),
    "privacy_class": st.sampled_from(["PUBLIC", "PRIVATE"]),
    "model": st.sampled_from([None, "payload"]),
}


@given(st.lists(NAMES, max_size=4), st.data())
def test_exactly_the_bodies_with_a_key_twice_are_refused(more: list[str], data: st.DataObject) -> None:
    names = data.draw(st.permutations(["job_type", "user_id", "payload", *more]))
    members = [f'"{name}": {json.dumps(data.draw(VALUES[name]))}' for name in names]
    body = ("{" + ", ".join(members) + "}").encode()
    payload = bytes(msgspec.json.decode(body, type=CommitRequest).payload)
    if len(names) == len(set(names)):
        refuse_repeated_keys(body, payload)
    else:
        with pytest.raises(RequestError):
            refuse_repeated_keys(body, payload)
