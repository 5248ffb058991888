"""Whatever a client sends: a JSON error with a stable code, nothing stored, nobody else disturbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.transport.harness import LLM, TASK, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

COMMIT = "/v1/jobs/commit/cheap"
CREATE = "/v1/trust/create"
CLAIM = "/v1/trust/claim"
CODE = "ABCDEFGHJK"


def task(**payload: Any) -> dict[str, Any]:
    return TASK | {"payload": payload}


def llm(**payload: Any) -> dict[str, Any]:
    return LLM | {"payload": payload}


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


_NO_USERS: list[Any] = [None, 5, "", "x" * 257, "a\u0000b", "a\nb", "a\x7f", {}, []]
_NO_TOKENS: list[Any] = [0, -1, 1.5, "5", True, 10**7, 10**30]
_NO_TYPES: list[Any] = [None, 5, "", "task", "TRAIN", ["TASK"], "T" * 100_000]
_NO_PAYLOADS: list[Any] = [None, 5, "text", [], {}]

WRONG_COMMITS: list[Any] = [
    None,
    True,
    5,
    "text",
    [],
    [TASK],
    {},
    *(without(TASK, key) for key in TASK),
    *(TASK | {"job_type": wrong} for wrong in _NO_TYPES),
    *(TASK | {"user_id": wrong} for wrong in _NO_USERS),
    *(TASK | {"privacy_class": wrong} for wrong in (None, "", "private", "SECRET", 1, True)),
    TASK | {"privacy": "PRIVATE"},
    TASK | {"Privacy_Class": "PRIVATE"},
    TASK | {"x" * 100_000: 1},
    *(TASK | {"payload": wrong} for wrong in _NO_PAYLOADS),
    TASK | {"payload": LLM["payload"]},
    LLM | {"payload": TASK["payload"]},
    TASK | {"model": "llama3"},
    *(LLM | {"model": wrong} for wrong in ("", 5, "x" * 257, "a\u0000")),
    task(task_type="translate", input="x"),
    task(task_type=None, input="x"),
    task(task_type="summarize"),
    task(input="x"),
    task(task_type="summarize", input=""),
    task(task_type="summarize", input=None),
    task(task_type="summarize", input=["x"]),
    task(task_type="summarize", input="x", job_type="LLM_INFER"),
    task(task_type="summarize", input="x", temperature=1),
    llm(prompt=""),
    llm(prompt=None),
    llm(prompt=["x"]),
    llm(max_tokens=5),
    *(llm(prompt="x", max_tokens=wrong) for wrong in _NO_TOKENS),
    llm(prompt="x", job_type="TASK"),
    llm(prompt="x", messages=[]),
]

WRONG_TRUST: list[tuple[str, Any]] = [
    *((CREATE, wrong) for wrong in _NO_PAYLOADS),
    *((CREATE, {"user_id": wrong}) for wrong in _NO_USERS),
    (CREATE, {"user_id": "alice", "admin": True}),
    (CLAIM, {}),
    (CLAIM, {"pairing_code": CODE}),
    (CLAIM, {"provider_pubkey": "a" * 64}),
    *((CLAIM, {"pairing_code": wrong, "provider_pubkey": "a" * 64}) for wrong in (None, 5, "", "x" * 65)),
    *(
        (CLAIM, {"pairing_code": CODE, "provider_pubkey": wrong})
        for wrong in (None, 5, "", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "٣" * 64)
    ),
]

VALID = json.dumps(TASK).encode()
DEEP = 200_000

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "half": VALID[:-1],
    "brace": b"{",
    "two values": VALID + b"{}",
    "single quotes": b"{'job_type':'TASK'}",
    "NaN": b'{"job_type":NaN}',
    "trailing comma": VALID[:-1] + b",}",
    "NUL": b"\x00",
    "NUL after": VALID + b"\x00",
    "raw NUL in text": VALID.replace(b"alice", b"al\x00ice"),
    "byte order mark": b"\xef\xbb\xbf" + VALID,
    "UTF-16": VALID.decode().encode("utf-16"),
    "invalid UTF-8 in a name": VALID.replace(b"alice", b"al\xffice"),
    "invalid UTF-8 in the payload": VALID.replace(b"Some", b"S\xc3\x28me"),
    "encoded surrogate in the payload": VALID.replace(b"Some", b"\xed\xa0\x80"),
    "overlong encoding in the payload": VALID.replace(b"Some", b"\xc0\xaf"),
    "lone surrogate in a name": VALID.replace(b"alice", rb"\ud800"),
    "lone surrogate in the payload": VALID.replace(b"Some", rb"\udc00x"),
    "deep payload": VALID.replace(b'"Some text."', b"[" * DEEP + b"]" * DEEP),
}


DEEP_IN_THE_WRONG_PLACE: list[bytes] = [
    b"[" * DEEP,
    b'{"a":' * DEEP,
    VALID[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    VALID.replace(b'"alice"', b"[" * DEEP + b"]" * DEEP),
]

NOWHERE = [
    ("GET", "/nowhere"),
    ("GET", "/v1"),
    ("GET", "/v1/"),
    ("GET", "/v1/health/"),
    ("GET", "//v1/health"),
    ("GET", "/V1/health"),
    ("GET", "/v1/jobs/"),
    ("GET", "/v1/jobs/a/b"),
    ("GET", "/v1/jobs/../health"),
    ("GET", "*"),
    ("OPTIONS", "*"),
    ("POST", "/v1/jobs/commit/gold"),
    ("POST", "/v1/jobs/commit/FAST"),
    ("POST", "/v1/jobs/commit/"),
    ("CONNECT", "example.org:443"),
    ("GET", "/\xff"),
    ("GET", "/" + "x" * 8000),
]

WRONG_METHODS = [
    ("POST", "/"),
    ("POST", "/v1/health"),
    ("DELETE", "/v1/quote"),
    ("PUT", "/v1/jobs/some-id"),
    ("DELETE", COMMIT),
    ("DELETE", "/v1/jobs/some-id/events"),
    ("GET", COMMIT),
    ("PUT", COMMIT),
    ("OPTIONS", COMMIT),
    ("GET", CREATE),
    ("GET", CLAIM),
    ("POST", "/v1/trust/list"),
    ("BREW", "/v1/health"),
]


async def refused(tmp_path: Path, status: int, code: str, *requests: bytes) -> None:
    """Each request gets this error; its connection, a worker and the whole coordinator live on."""
    async with coordinator(tmp_path) as router, worker(router.port) as bystander:
        await bystander.register()
        for sent in requests:
            async with connect(router.port) as connection:
                connection.send(sent)
                answer = await connection.answer()
                error = answer.json()
                assert (answer.status, error["error"]) == (status, code), (sent[:300], error)
                assert 0 < len(error.pop("message")) < 500, sent[:300]
                assert list(error) == ["error"]
                connection.send(request("GET", "/v1/health"))
                assert (await connection.answer()).json()["workers_online"] == 1, sent[:300]
            assert router.count("jobs") == router.count("trust_pairings") == 0, sent[:300]
        await bystander.hears_nothing()


async def test_commits_of_the_wrong_form_are_refused(tmp_path: Path) -> None:
    bodies = (json.dumps(body).encode() for body in WRONG_COMMITS)
    sent = (request("POST", COMMIT, body, Content_Type="application/json") for body in bodies)
    await refused(tmp_path, 400, "invalid_request", *sent)


async def test_trust_requests_of_the_wrong_form_are_refused(tmp_path: Path) -> None:
    sent = (request("POST", path, json.dumps(body).encode()) for path, body in WRONG_TRUST)
    await refused(tmp_path, 400, "invalid_request", *sent)


async def test_lists_for_no_proper_user_are_refused(tmp_path: Path) -> None:
    queries = ("", "?user_id=", "?user_id=%00", "?user_id=" + "x" * 257, "?user_id=a&user_id=b")
    sent = (request("GET", f"/v1/trust/list{query}") for query in queries)
    await refused(tmp_path, 400, "invalid_request", *sent)


async def test_bodies_that_are_no_json_are_refused(tmp_path: Path) -> None:
    sent = (request("POST", COMMIT, body) for body in MALFORMED.values())
    await refused(tmp_path, 400, "malformed_json", *sent)


async def test_deep_json_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    sent = (request("POST", COMMIT, body) for body in DEEP_IN_THE_WRONG_PLACE)
    await refused(tmp_path, 400, "invalid_request", *sent)


async def test_bodies_of_another_media_type_are_refused(tmp_path: Path) -> None:
    media_types = ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ",", "*/*")
    sent = (
        request("POST", path, VALID, Content_Type=media_type)
        for path in (COMMIT, CREATE, CLAIM)
        for media_type in media_types
    )
    await refused(tmp_path, 415, "unsupported_media_type", *sent)


async def test_unknown_addresses_are_not_found(tmp_path: Path) -> None:
    await refused(tmp_path, 404, "not_found", *(request(*line) for line in NOWHERE))


async def test_methods_that_an_address_has_not_are_refused(tmp_path: Path) -> None:
    await refused(tmp_path, 405, "method_not_allowed", *(request(*line) for line in WRONG_METHODS))


async def test_a_refused_method_is_told_the_allowed_one(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        assert (await router.http.put(COMMIT)).headers["allow"] == "POST"
        assert (await router.http.post("/v1/health")).headers["allow"] == "GET"


async def test_head_of_an_error_has_no_body(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        for path, status in ((COMMIT, 405), ("/nowhere", 404)):
            connection.send(request("HEAD", path))
            assert (await connection.answer(has_body=False)).status == status
        connection.send(request("GET", "/v1/health"))
        assert (await connection.answer()).status == 200


async def test_waits_out_of_range_are_refused(tmp_path: Path) -> None:
    waits = ("", "abc", "-1", "61", "nan", "inf", "1e9", "5s", "1&wait=2")
    sent = (request("GET", f"/v1/jobs/some-id?wait={wait}") for wait in waits)
    await refused(tmp_path, 400, "invalid_request", *sent)
