"""``/v1/trust/*``: pairing codes are made once, used once, and die after an hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from tests.transport.harness import Coordinator, coordinator, owner
from tests.transport.test_health_and_quote import ISO_MS

KEY_A, KEY_B = "a" * 64, "b" * 64


async def new_code(router: Coordinator, user_id: str = "alice") -> str:
    answer = await router.http.post("/v1/trust/create", json={"user_id": user_id}, headers=owner(user_id))
    assert answer.status_code == 201
    return str(answer.json()["pairing_code"])


async def claim(router: Coordinator, code: str, pubkey: str = KEY_A) -> tuple[int, dict[str, str]]:
    body = {"pairing_code": code, "provider_pubkey": pubkey}
    answer = await router.http.post("/v1/trust/claim", json=body)
    return answer.status_code, answer.json()


async def test_a_code_is_valid_for_one_hour(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        now = (await router.http.get("/v1/health")).json()["timestamp"]
        expires = (await router.http.post("/v1/trust/create", json={"user_id": "u"})).json()["expires_at"]
    assert ISO_MS.fullmatch(expires)
    lifetime = datetime.fromisoformat(expires) - datetime.fromisoformat(now)
    assert timedelta(hours=1) <= lifetime < timedelta(hours=1, seconds=10)


async def test_a_claimed_code_pairs_the_worker_and_cannot_be_used_again(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        status, pairing = await claim(router, code)
        assert (status, list(pairing), pairing["user_id"]) == (200, ["user_id", "paired_at"], "alice")
        for pubkey in (KEY_A, KEY_B):
            status, refusal = await claim(router, code, pubkey)
            assert (status, refusal["error"]) == (400, "already_claimed")


async def test_an_unknown_code_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for code in ("nope", "x" * 64, "' OR 1=1 --", "\u0000"):
            status, refusal = await claim(router, code)
            assert (status, refusal["error"]) == (400, "invalid_code")


async def test_each_user_lists_his_own_workers_in_the_order_of_pairing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for user_id, pubkey in (("alice", KEY_B), ("alice", KEY_A), ("bob & co", KEY_B), ("alice", KEY_B)):
            await router.pair(user_id, pubkey)
        lists = {}
        for user_id in ("alice", "bob & co", "carol"):
            answer = await router.http.get("/v1/trust/list", params={"user_id": user_id})
            assert (answer.status_code, list(answer.json())) == (200, ["providers"])
            lists[user_id] = answer.json()["providers"]
    assert all(list(provider) == ["provider_pubkey", "paired_at", "signed"] for provider in lists["alice"])
    assert all(ISO_MS.fullmatch(provider["paired_at"]) for provider in lists["alice"])
    keys = {user: sorted(provider["provider_pubkey"] for provider in mine) for user, mine in lists.items()}
    assert keys == {"alice": [KEY_A, KEY_B], "bob & co": [KEY_B], "carol": []}


async def test_pairings_live_through_a_restart(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.pair("alice", KEY_A)
    async with coordinator(tmp_path) as router:
        providers = (await router.http.get("/v1/trust/list?user_id=alice")).json()["providers"]
    assert [provider["provider_pubkey"] for provider in providers] == [KEY_A]
