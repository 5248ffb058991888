"""``/v1/keys``: API keys are made, listed and revoked with an admin key, and shown once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from compute_router.protocol.api_keys import key_id_of
from compute_router.transport.authentication import AuthMode
from tests.transport.accounts import accounts, key_id, told
from tests.transport.disks import Disk
from tests.transport.harness import coordinator
from tests.transport.test_health_and_quote import ISO_MS

FACTS = [
    "key_id",
    "name",
    "scope",
    "user_id",
    "jobs_per_minute",
    "jobs_at_once",
    "jobs_per_day",
    "created_at",
    "revoked_at",
]


async def test_a_new_key_is_answered_with_all_about_it(tmp_path: Path) -> None:
    wanted = {"scope": "user", "user_id": "alice", "name": "Alice's phone", "jobs_at_once": 2}
    async with accounts(tmp_path) as office:
        answer = await office.ask("POST", "/v1/keys", office.admin, wanted)
        made = answer.json()
        assert (answer.status_code, list(made)) == (201, [*FACTS, "key"])
        assert answer.headers["cache-control"] == "no-store"
        assert made | wanted == made
        assert (made["jobs_per_minute"], made["jobs_per_day"], made["revoked_at"]) == (None, None, None)
        assert key_id_of(made["key"]) == made["key_id"]
        assert ISO_MS.fullmatch(made["created_at"])


async def test_all_keys_are_listed_without_what_makes_them_work(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        await office.revoke(alice)
        listed = (await office.ask("GET", "/v1/keys", office.admin)).json()["keys"]
        assert [each["key_id"] for each in listed] == [key_id(office.admin), key_id(alice)]
        assert [list(each) for each in listed] == [FACTS, FACTS]
        assert [each["scope"] for each in listed] == ["admin", "user"]
        assert [each["revoked_at"] is not None for each in listed] == [False, True]


async def test_the_key_of_a_user_manages_no_keys(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
        for method, path, body in (
            ("POST", "/v1/keys", {"scope": "admin"}),
            ("POST", "/v1/keys", {"scope": "user", "user_id": "alice"}),
            ("GET", "/v1/keys", None),
            ("DELETE", f"/v1/keys/{key_id(alice)}", None),
            ("DELETE", f"/v1/keys/{key_id(office.admin)}", None),
        ):
            assert told(await office.ask(method, path, alice, body)) == (403, "forbidden")
        assert office.router.count("api_keys") == 2


async def test_an_admin_key_makes_further_ones_and_may_be_revoked_itself(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        other = await office.make_key(None)
        await office.ask("DELETE", f"/v1/keys/{key_id(office.admin)}", other)
        assert told(await office.ask("GET", "/v1/keys", office.admin)) == (401, "unauthorized")
        assert (await office.ask("GET", "/v1/keys", other)).status_code == 200


async def test_a_key_that_is_revoked_again_was_revoked_the_first_time(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        path = f"/v1/keys/{key_id(await office.make_key())}"
        answers = await asyncio.gather(*(office.ask("DELETE", path, office.admin) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        again = await office.ask("DELETE", path, office.admin)
        assert again.content == answers[0].content
        assert list(again.json()) == ["key_id", "revoked_at"]


async def test_an_unknown_key_cannot_be_revoked(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        for unknown in ("000000000000", "x", office.admin, "%00"):
            answer = await office.ask("DELETE", f"/v1/keys/{unknown}", office.admin)
            assert told(answer) == (404, "not_found")


BAD: list[dict[str, Any]] = [
    {},
    {"scope": "root"},
    {"scope": "user"},
    {"scope": "user", "user_id": None},
    {"scope": "user", "user_id": ""},
    {"scope": "user", "user_id": "a\nb"},
    {"scope": "user", "user_id": ["alice", "bob"]},
    {"scope": "admin", "user_id": "alice"},
    {"scope": "admin", "jobs_per_day": 5},
    {"scope": "user", "user_id": "alice", "jobs_per_minute": 0},
    {"scope": "user", "user_id": "alice", "jobs_at_once": -1},
    {"scope": "user", "user_id": "alice", "jobs_per_day": 1.5},
    {"scope": "user", "user_id": "alice", "jobs_per_day": 1 << 40},
    {"scope": "user", "user_id": "alice", "name": "a\x1b[2J"},
    {"scope": "user", "user_id": "alice", "name": "n" * 101},
    {"scope": "user", "user_id": "alice", "jobs_per_hour": 5},
]


@pytest.mark.parametrize("wanted", BAD, ids=str)
async def test_what_is_no_key_is_refused_and_nothing_is_stored(
    tmp_path: Path, wanted: dict[str, Any]
) -> None:
    async with accounts(tmp_path) as office:
        answer = await office.ask("POST", "/v1/keys", office.admin, wanted)
        assert told(answer) == (400, "invalid_request")
        assert office.router.count("api_keys") == 1


async def test_what_cannot_be_stored_takes_no_effect(tmp_path: Path) -> None:
    async with accounts(tmp_path) as office:
        alice = await office.make_key()
    disk = Disk()
    async with coordinator(tmp_path, auth=AuthMode.KEYS, disk=disk) as router:
        headers = {"Authorization": f"Bearer {office.admin}"}
        disk.full = True
        body = {"scope": "admin"}
        refused = [
            await router.http.post("/v1/keys", json=body, headers=headers),
            await router.http.delete(f"/v1/keys/{key_id(alice)}", headers=headers),
        ]
        assert [told(answer) for answer in refused] == [(503, "storage_unavailable")] * 2
        listed = (await router.http.get("/v1/keys", headers=headers)).json()["keys"]
        assert [each["revoked_at"] for each in listed] == [None, None]
        disk.full = False
