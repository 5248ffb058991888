"""``--auth keys``: whose key may do what, on every address of the API."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from compute_router.protocol.api_keys import hash_api_key
from compute_router.transport.authentication import AuthMode
from tests.transport.accounts import STRANGER, Accounts, accounts, bearer, told
from tests.transport.harness import TASK, Coordinator, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

PUBKEY = "a" * 64
CREATE = {"user_id": "alice"}
UNKNOWN_JOB = "00000000-0000-4000-8000-000000000000"

NEED_A_KEY: list[tuple[str, str, Any]] = [
    ("POST", "/v1/jobs/commit/cheap", TASK),
    ("POST", "/v1/jobs/commit/fast", TASK),
    ("GET", f"/v1/jobs/{UNKNOWN_JOB}", None),
    ("GET", f"/v1/jobs/{UNKNOWN_JOB}?wait=1", None),
    ("GET", f"/v1/jobs/{UNKNOWN_JOB}/events", None),
    ("DELETE", f"/v1/jobs/{UNKNOWN_JOB}", None),
    ("GET", f"/v1/receipts/{UNKNOWN_JOB}", None),
    ("POST", "/v1/trust/create", CREATE),
    ("GET", "/v1/trust/list?user_id=alice", None),
    ("DELETE", f"/v1/trust/{PUBKEY}?user_id=alice", None),
    ("POST", "/v1/keys", {"scope": "admin"}),
    ("GET", "/v1/keys", None),
    ("DELETE", "/v1/keys/000000000000", None),
]
NAMES_A_USER = [call for call in NEED_A_KEY if "alice" in json.dumps(call)]
NEED_NO_KEY: list[tuple[str, str, Any]] = [
    ("GET", "/v1/health", None),
    ("GET", "/v1/quote?job_type=TASK", None),
    ("GET", "/v1/workers", None),
    ("GET", "/.well-known/compute-router", None),
]


def name_of(call: tuple[str, str, Any]) -> str:
    return f"{call[0]} {call[1].partition('?')[0]}"


async def is_waited_for(router: Coordinator) -> None:
    """Until a long poll or a stream is open."""
    async with asyncio.timeout(10):
        while len(router.watch) == 0:
            await router.http.get("/v1/health")


@asynccontextmanager
async def stream(office: Accounts, job_id: str, api_key: str) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of a job's event stream."""
    path = f"/v1/jobs/{job_id}/events"
    async with office.router.http.stream("GET", path, headers=bearer(api_key)) as answer:
        assert answer.status_code == 200
        yield answer.aiter_lines()


@pytest.mark.parametrize("call", NEED_A_KEY, ids=name_of)
async def test_without_a_key_it_is_401_and_the_answer_says_how(
    tmp_path: Path, call: tuple[str, str, Any]
) -> None:
    async with accounts(tmp_path) as office:
        answer = await office.ask(call[0], call[1], None, call[2])
        assert told(answer) == (401, "unauthorized")
        # RFC 6750: no error code for a request that brought nothing.
        assert answer.headers["www-authenticate"] == 'Bearer realm="compute-router"'


@pytest.mark.parametrize("call", NEED_A_KEY, ids=name_of)
async def test_a_wrong_or_revoked_key_is_401(tmp_path: Path, call: tuple[str, str, Any]) -> None:
    async with accounts(tmp_path) as office:
        good = await office.make_key()
        other_secret = good[:-1] + ("A" if good[-1] != "A" else "B")
        await office.revoke(revoked := await office.make_key())
        for wrong in (STRANGER, other_secret, revoked, hash_api_key(good), "x", "crt_" + "A" * 43):
            answer = await office.ask(call[0], call[1], wrong, call[2])
            assert told(answer) == (401, "unauthorized"), wrong
            challenge = answer.headers["www-authenticate"]
            assert challenge == 'Bearer realm="compute-router", error="invalid_token"'
        assert office.router.count("jobs") == 0


@pytest.mark.parametrize("call", NAMES_A_USER, ids=name_of)
async def test_for_another_user_it_is_403(tmp_path: Path, call: tuple[str, str, Any]) -> None:
    async with accounts(tmp_path) as office:
        answer = await office.ask(call[0], call[1], await office.make_key("mallory"), call[2])
        assert told(answer) == (403, "forbidden")
        assert answer.headers["www-authenticate"].endswith('error="insufficient_scope"')
        assert office.router.count("jobs") == office.router.count("trust_pairings") == 0


@pytest.mark.parametrize("call", NEED_NO_KEY, ids=name_of)
async def test_what_is_for_everybody_needs_no_key(tmp_path: Path, call: tuple[str, str, Any]) -> None:
    async with accounts(tmp_path) as office:
        for api_key in (None, STRANGER):
            assert (await office.ask(call[0], call[1], api_key)).status_code == 200


async def test_a_user_runs_reads_and_cancels_jobs_with_a_key(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office, worker(office.router.port) as client:
        alice = await office.make_key()
        cancelled = await office.job_id(alice)
        assert (await office.ask("DELETE", f"/v1/jobs/{cancelled}", alice)).json()["status"] == "cancelled"
        # A worker needs no key.
        await client.register(proven=True)
        job_id = await office.job_id(alice)
        await client.serve(job_id)
        job = (await office.ask("GET", f"/v1/jobs/{job_id}?wait=10", alice)).json()
        assert (job["status"], job["receipt"]["verified"]) == ("completed", True)
        events = await office.ask("GET", f"/v1/jobs/{job_id}/events", alice)
        assert events.text.startswith("event: job\n")


@pytest.mark.parametrize("ended", [False, True], ids=["unfinished", "finished"])
async def test_another_users_job_is_like_one_that_is_not_there(tmp_path: Path, ended: bool) -> None:
    async with accounts(tmp_path) as office:
        alice, mallory = await office.make_key(), await office.make_key("mallory")
        job_id = await office.job_id(alice)
        if ended:
            await office.ask("DELETE", f"/v1/jobs/{job_id}", alice)
        for method, path in (
            ("GET", "/v1/jobs/ID"),
            ("GET", "/v1/jobs/ID?wait=60"),
            ("GET", "/v1/jobs/ID/events"),
            ("DELETE", "/v1/jobs/ID"),
            ("GET", "/v1/receipts/ID"),
        ):
            async with asyncio.timeout(5):
                answers = [
                    await office.ask(method, path.replace("ID", each), mallory)
                    for each in (job_id, UNKNOWN_JOB)
                ]
            assert [told(answer) for answer in answers] == [(404, "not_found")] * 2
            assert answers[0].content == answers[1].content
        status = (await office.ask("GET", f"/v1/jobs/{job_id}", alice)).json()["status"]
        assert status == ("cancelled" if ended else "pending")


async def test_an_admin_key_may_do_everything_for_everybody(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        for user_id in ("alice", "bob"):
            job_id = await office.job_id(office.admin, user_id=user_id)
            for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
                answer = await office.ask(method, f"/v1/jobs/{job_id}{tail}", office.admin)
                assert answer.status_code == 200
            created = await office.ask("POST", "/v1/trust/create", office.admin, {"user_id": user_id})
            assert created.status_code == 201
            listed = await office.ask("GET", f"/v1/trust/list?user_id={user_id}", office.admin)
            assert listed.status_code == 200


async def test_a_users_key_pairs_lists_and_revokes_in_place_of_the_token(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        for _ in range(2):
            # No token was kept from the first time, and none is needed the second time.
            created = await office.ask("POST", "/v1/trust/create", alice, CREATE)
            assert created.status_code == 201
        claim = {"pairing_code": created.json()["pairing_code"], "provider_pubkey": PUBKEY}
        assert (await office.ask("POST", "/v1/trust/claim", None, claim)).status_code == 200
        listed = await office.ask("GET", "/v1/trust/list?user_id=alice", alice)
        assert [each["provider_pubkey"] for each in listed.json()["providers"]] == [PUBKEY]
        revoked = await office.ask("DELETE", f"/v1/trust/{PUBKEY}?user_id=alice", alice)
        assert revoked.status_code == 200
        listed = await office.ask("GET", "/v1/trust/list?user_id=alice", alice)
        assert listed.json() == {"providers": []}


async def test_a_key_is_asked_for_before_the_body_is_looked_at(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        for path in ("/v1/jobs/commit/cheap", "/v1/trust/create", "/v1/keys"):
            answer = await office.router.http.post(path, content=b"{")
            assert told(answer) == (401, "unauthorized")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWxpY2U6cHc=",
        "KEY",
        "Bearer KEY x",
        "Bearer KEY, Bearer KEY",
        "Bearer\tKEY",
        'Bearer "KEY"',
        "Bearer K\u00e4Y",
        "Bearer KEY" + "A" * 600,
        "BearerKEY",
    ],
)
async def test_a_header_that_is_no_bearer_token_is_401(tmp_path: Path, header: str) -> None:
    async with accounts(tmp_path) as office, connect(office.router.port) as connection:
        text = header.replace("KEY", await office.make_key())
        connection.send(request("GET", f"/v1/jobs/{UNKNOWN_JOB}", Authorization=text))
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")


async def test_two_headers_are_401_even_if_each_is_good(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        headers = [("Authorization", f"Bearer {alice}"), ("Authorization", f"Bearer {alice}")]
        answer = await office.router.http.get(f"/v1/jobs/{UNKNOWN_JOB}", headers=headers)
        assert told(answer) == (401, "unauthorized")


async def test_the_word_bearer_may_be_in_any_case(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        headers = {"Authorization": f"bEaReR {await office.make_key()}"}
        answer = await office.router.http.get(f"/v1/jobs/{UNKNOWN_JOB}", headers=headers)
        assert told(answer) == (404, "not_found")


async def test_secrets_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    in_constant_time = hmac.compare_digest

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return in_constant_time(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        compared.clear()
        for presented in (alice, alice[:-1] + "A", STRANGER):
            await office.ask("GET", f"/v1/jobs/{UNKNOWN_JOB}", presented)
        # An unknown key costs the same comparison as a known one.
        assert [first for first, _ in compared] == [
            hash_api_key(presented) for presented in (alice, alice[:-1] + "A", STRANGER)
        ]
        assert compared[0][0] == compared[0][1]


# Revoked while a connection is open


async def test_a_long_poll_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice, other = await office.make_key(), await office.make_key()
        job_id = await office.job_id(alice)
        async with asyncio.timeout(10):
            poll = asyncio.create_task(office.ask("GET", f"/v1/jobs/{job_id}?wait=60", alice))
            await is_waited_for(office.router)
            await office.revoke(other)
            assert not poll.done()
            await office.revoke(alice)
            assert told(await poll) == (401, "unauthorized")


async def test_an_event_stream_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        job_id = await office.job_id(alice)
        async with stream(office, job_id, alice) as lines, asyncio.timeout(10):
            assert await anext(lines) == "event: status"
            await office.revoke(alice)
            rest = [line async for line in lines]
            assert not any(line.startswith("event:") for line in rest)
        assert told(await office.ask("GET", f"/v1/jobs/{job_id}", alice)) == (401, "unauthorized")


async def test_what_other_keys_hold_open_goes_on(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office, worker(office.router.port) as client:
        alice, other = await office.make_key(), await office.make_key()
        job_id = await office.job_id(alice)
        async with stream(office, job_id, other) as lines, asyncio.timeout(10):
            assert await anext(lines) == "event: status"
            await office.revoke(alice)
            await client.register(proven=True)
            await client.serve(job_id)
            assert "event: job" in [line async for line in lines]


async def test_a_revoked_key_stops_at_once_on_a_kept_connection(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office, connect(office.router.port) as connection:
        alice = await office.make_key()
        question = request("GET", f"/v1/jobs/{UNKNOWN_JOB}", Authorization=f"Bearer {alice}")
        connection.send(question)
        assert (await connection.answer()).status == 404
        await office.revoke(alice)
        connection.send(question)
        assert (await connection.answer()).status == 401


# Nothing of a key anywhere but in the one answer


async def test_no_key_is_in_a_log_an_error_or_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with accounts(tmp_path) as office:
        alice, bob = await office.make_key(), await office.make_key("bob")
        answers = [
            await office.ask(method, path, api_key, body)
            for api_key in (alice, bob, office.admin, STRANGER, alice + "x")
            for method, path, body in (*NEED_A_KEY[:10], ("GET", "/v1/keys", None))
        ]
        await office.revoke(alice)
    kept = contents(tmp_path)
    seen = caplog.text + "".join(answer.text for answer in answers)
    for api_key in (alice, bob, office.admin, STRANGER):
        secret = api_key[-43:]
        assert secret not in seen
        assert secret.encode() not in kept
        assert hash_api_key(api_key) not in seen


def contents(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


# Restarts and modes


async def test_keys_and_their_revocation_live_through_a_restart(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice, revoked = await office.make_key(), await office.make_key()
        await office.revoke(revoked)
    async with coordinator(tmp_path, auth=AuthMode.KEYS) as router:
        for api_key, status in ((alice, 404), (revoked, 401), (office.admin, 404)):
            answer = await router.http.get(f"/v1/jobs/{UNKNOWN_JOB}", headers=bearer(api_key))
            assert answer.status_code == status


async def test_a_database_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    async with coordinator(tmp_path, auth=AuthMode.KEYS) as router:
        office = Accounts(router, STRANGER)
        for method, path, body in NEED_A_KEY:
            for api_key in (None, STRANGER):
                assert told(await office.ask(method, path, api_key, body)) == (401, "unauthorized")


async def test_in_the_open_mode_a_key_on_a_job_is_not_looked_at(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as office:
        mallory = await office.make_key("mallory", jobs_at_once=1, jobs_per_day=1, jobs_per_minute=1)
        for api_key in (None, STRANGER, mallory, mallory):
            job_id = await office.job_id(api_key)  # type: ignore[arg-type]
            assert (await office.ask("GET", f"/v1/jobs/{job_id}", api_key)).status_code == 200


async def test_in_the_open_mode_a_key_does_not_replace_the_token(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as office:
        alice = await office.make_key()
        first = await office.ask("POST", "/v1/trust/create", None, CREATE)
        assert first.status_code == 201
        again = await office.ask("POST", "/v1/trust/create", alice, CREATE)
        assert again.status_code in (401, 403)
        token = first.json()["user_token"]
        assert (await office.ask("POST", "/v1/trust/create", token, CREATE)).status_code == 201


async def test_in_the_open_mode_keys_are_managed_by_admins_only(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as office:
        alice = await office.make_key()
        assert told(await office.ask("GET", "/v1/keys")) == (401, "unauthorized")
        assert told(await office.ask("GET", "/v1/keys", alice)) == (403, "forbidden")
        assert (await office.ask("GET", "/v1/keys", office.admin)).status_code == 200


async def test_in_the_open_mode_without_an_admin_key_nobody_manages_keys(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        office = Accounts(router, STRANGER)
        for method, path, body in NEED_A_KEY[-3:]:
            for api_key in (None, STRANGER):
                assert told(await office.ask(method, path, api_key, body)) == (403, "forbidden")
