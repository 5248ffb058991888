"""Attacks on pairing: somebody else's user, guessed codes, foreign claims, foreign revocations."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.actors.store_requests import MAX_OPEN_CODES_PER_USER
from compute_router.protocol.errors import RateLimitedError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pairing import MAX_WRONG_TRIES, is_user_token, new_user_token, sign_claim
from compute_router.protocol.receipts import public_key_hex
from compute_router.transport import wrong_claims
from compute_router.transport.authentication import AuthMode
from compute_router.transport.http_types import Request as HttpRequest
from compute_router.transport.wrong_claims import MAX_WRONG_CLAIMS, WRONG_CLAIMS_WINDOW_MS, WrongClaims
from tests.fakes.clock import FakeClock
from tests.transport.accounts import STRANGER, accounts
from tests.transport.harness import NETWORK, TASK, Coordinator, coordinator, owner
from tests.transport.worker_client import worker

KEY = SigningKey(bytes(range(32)))
PUBKEY = public_key_hex(KEY)
OTHER = SigningKey(bytes(range(1, 33)))
MONAD = NETWORKS[Chain.MONAD].caip2
PRIVATE = {"privacy_class": "PRIVATE"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def create(
    router: Coordinator, headers: dict[str, str] | None = None, user_id: str = "alice"
) -> httpx.Response:
    return await router.http.post("/v1/trust/create", json={"user_id": user_id}, headers=headers or {})


async def new_code(router: Coordinator, user_id: str = "alice") -> str:
    answer = await create(router, owner(user_id), user_id)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["pairing_code"])


async def claim(router: Coordinator, code: str, **more: str) -> httpx.Response:
    body = {"pairing_code": code, "provider_pubkey": PUBKEY} | more
    return await router.http.post("/v1/trust/claim", json=body)


async def revoke(
    router: Coordinator, headers: dict[str, str] | None = None, user_id: str = "alice", pubkey: str = PUBKEY
) -> httpx.Response:
    return await router.http.request(
        "DELETE", f"/v1/trust/{pubkey}", params={"user_id": user_id}, headers=headers or {}
    )


async def providers(router: Coordinator, user_id: str = "alice") -> list[dict[str, Any]]:
    answer = await router.http.get("/v1/trust/list", params={"user_id": user_id})
    return list(answer.json()["providers"])


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert list(answer.json()) == ["error", "message"]
    return answer.status_code, answer.json()["error"]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a coordinator."""
    return {file.name: file.read_bytes() for file in directory.glob("*.db*")}


# Ownership


async def test_the_first_code_of_a_user_comes_with_a_token_and_later_ones_do_not(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        first = await create(router)
        assert list(first.json()) == ["pairing_code", "expires_at", "user_token"]
        token = first.json()["user_token"]
        assert is_user_token(token)
        second = await create(router, bearer(token))
        assert (second.status_code, list(second.json())) == (201, ["pairing_code", "expires_at"])


async def test_a_stranger_gets_no_code_for_a_user_who_is_owned(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        token = (await create(router)).json()["user_token"]
        without = await create(router)
        assert error_of(without) == (401, "unauthorized")
        assert without.headers["WWW-Authenticate"].startswith("Bearer")
        for wrong in (new_user_token(), token[:-1] + ("A" if token[-1] != "A" else "B"), "crt_", "x"):
            assert error_of(await create(router, bearer(wrong))) == (403, "forbidden")
        assert router.count("trust_pairings") == 1
        assert (await create(router, bearer(token))).status_code == 201


async def test_a_token_is_good_for_its_own_user_only(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        mallory = (await create(router, user_id="mallory")).json()["user_token"]
        await create(router, user_id="alice")
        assert error_of(await create(router, bearer(mallory), "alice")) == (403, "forbidden")


async def test_who_brings_a_token_to_a_free_user_owns_it_and_may_ask_again_when_the_answer_was_lost(
    tmp_path: Path,
) -> None:
    token = new_user_token()
    async with coordinator(tmp_path) as router:
        assert (await create(router, bearer(token))).json()["user_token"] == token
        again = await create(router, bearer(token))
        assert (again.status_code, "user_token" in again.json()) == (201, False)
        assert error_of(await create(router, bearer(new_user_token()))) == (403, "forbidden")


async def test_of_many_first_creates_at_once_exactly_one_owns_the_user(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answers = await asyncio.gather(*(create(router) for _ in range(8)))
        owners = [answer.json()["user_token"] for answer in answers if answer.status_code == 201]
        assert len(owners) == 1
        assert [error_of(each) for each in answers if each.status_code != 201] == [(401, "unauthorized")] * 7


async def test_ownership_lives_through_a_restart_and_only_a_hash_is_kept(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        token = (await create(router)).json()["user_token"]
    assert not [name for name, content in contents(tmp_path).items() if token.encode() in content]
    async with coordinator(tmp_path) as router:
        assert error_of(await create(router)) == (401, "unauthorized")
        assert (await create(router, bearer(token))).status_code == 201


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer a b", "crt_x", "Bearer " + "a" * 600])
async def test_a_header_that_is_no_bearer_token_is_refused_and_changes_nothing(
    tmp_path: Path, header: str
) -> None:
    async with coordinator(tmp_path) as router:
        answer = await create(router, {"Authorization": header})
        assert error_of(answer) == (401, "unauthorized")
        assert (router.count("users"), router.count("trust_pairings")) == (0, 0)


async def test_in_the_open_mode_an_admin_key_stands_for_every_owner_and_other_keys_for_nobody(
    tmp_path: Path,
) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as office:
        router, revoked = office.router, await office.make_key(None)
        await office.revoke(revoked)
        await router.pair("alice", PUBKEY)
        for key in (await office.make_key("alice"), STRANGER, revoked):
            assert error_of(await create(router, bearer(key))) == (401, "unauthorized")
            assert error_of(await revoke(router, bearer(key))) == (401, "unauthorized")
        assert list((await create(router, bearer(office.admin))).json()) == ["pairing_code", "expires_at"]
        assert (await revoke(router, bearer(office.admin))).status_code == 200


async def test_a_user_who_was_paired_by_api_key_is_not_for_whoever_comes_in_the_open_mode(
    tmp_path: Path,
) -> None:
    async with accounts(tmp_path, AuthMode.KEYS) as office:
        alice = await office.make_key("alice")
        code = (await create(office.router, bearer(alice))).json()["pairing_code"]
        assert (await claim(office.router, code)).status_code == 200
        assert (await revoke(office.router, bearer(alice))).status_code == 200
        admin = office.admin
    async with coordinator(tmp_path) as router:
        for headers in ({}, owner("alice"), bearer(alice)):
            for refused in (await create(router, headers), await revoke(router, headers)):
                assert error_of(refused) == (403, "forbidden")
                assert "admin key" in refused.json()["message"]
        token = (await create(router, bearer(admin))).json()["user_token"]
        assert "user_token" not in (await create(router, bearer(admin))).json()
        assert (await create(router, bearer(token))).status_code == 201


async def test_a_user_who_was_paired_before_users_had_owners_gets_one_from_an_admin_only(
    tmp_path: Path,
) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as office:
        await office.router.pair("alice", PUBKEY)
        admin = office.admin
    with closing(apsw.Connection(str(tmp_path / NETWORK.default_database))) as database:
        database.execute("DELETE FROM users")
    async with coordinator(tmp_path) as router:
        assert error_of(await create(router)) == (403, "forbidden")
        assert error_of(await create(router, owner("mallory"))) == (403, "forbidden")
        assert (router.count("users"), router.count("trust_pairings")) == (0, 1)
        token = (await create(router, bearer(admin))).json()["user_token"]
        assert (await revoke(router, bearer(token))).status_code == 200


def requests_in_memory() -> set[HttpRequest]:
    gc.collect()
    return {each for each in gc.get_objects() if isinstance(each, HttpRequest)}


@pytest.mark.parametrize("answer", ["invalid_code", "already_claimed", "expired"])
async def test_what_was_refused_is_not_kept_in_memory(tmp_path: Path, answer: str) -> None:
    clock = FakeClock()
    async with coordinator(tmp_path, clock=clock) as router:
        code = "NO-SUCH-CODE" if answer == "invalid_code" else await new_code(router)
        if answer == "already_claimed":
            await claim(router, code)
        clock.advance(2 * WRONG_CLAIMS_WINDOW_MS)
        of_other_tests = requests_in_memory()
        refused = [error_of(await claim(router, code)) for _ in range(20)]
        assert {error for _, error in refused} == {answer}
        await asyncio.sleep(0)
        assert len(requests_in_memory() - of_other_tests) <= 2


@pytest.mark.parametrize("path", ["/v1/trust/create", "/v1/trust/claim"])
async def test_a_body_much_larger_than_any_code_is_refused(tmp_path: Path, path: str) -> None:
    async with coordinator(tmp_path) as router:
        body = b'{"user_id":"' + b"\\ud83d\\ude00" * 256 + b'"}'
        assert (await router.http.post("/v1/trust/create", content=body)).status_code == 201
        answer = await router.http.post(path, content=b'{"user_id":"alice"}' + b" " * 4096)
        assert error_of(answer) == (413, "payload_too_large")


async def test_the_list_is_open_but_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.pair("alice", PUBKEY)
        assert [each["provider_pubkey"] for each in await providers(router)] == [PUBKEY]
        asked = router.http.get
        right = await asked("/v1/trust/list?user_id=alice", headers=owner("alice"))
        assert right.status_code == 200
        for user_id in ("alice", "nobody"):
            wrong = await asked(f"/v1/trust/list?user_id={user_id}", headers=owner("mallory"))
            assert error_of(wrong) == (403, "forbidden")


async def test_a_user_has_a_bounded_number_of_open_codes(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for _ in range(MAX_OPEN_CODES_PER_USER):
            code = await new_code(router)
        assert error_of(await create(router, owner("alice"))) == (409, "too_many_codes")
        assert (await create(router, owner("bob"), "bob")).status_code == 201
        assert (await claim(router, code)).status_code == 200
        assert (await create(router, owner("alice"))).status_code == 201


# Codes


async def test_a_code_has_twelve_characters_that_cannot_be_mistaken(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        codes = {await new_code(router) for _ in range(8)}
    assert len(codes) == 8
    assert all(len(code) == 12 and not set(code) - set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for code in codes)


async def test_guessing_burns_the_code_from_this_machine_too(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        for number in range(MAX_WRONG_TRIES):
            assert error_of(await claim(router, f"{code[:4]}{number:08}")) == (400, "invalid_code")
        assert error_of(await claim(router, code)) == (400, "invalid_code")
        assert await providers(router) == []


async def test_burning_lives_through_a_restart(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        for number in range(MAX_WRONG_TRIES):
            await claim(router, f"{code[:4]}{number:08}")
    async with coordinator(tmp_path) as router:
        assert error_of(await claim(router, code)) == (400, "invalid_code")


async def test_of_many_claims_of_one_code_at_once_exactly_one_pairs(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        keys = [f"{number:064x}" for number in range(8)]
        answers = await asyncio.gather(*(claim(router, code, provider_pubkey=key) for key in keys))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
        assert len(await providers(router)) == 1


async def test_an_expired_code_pairs_nobody(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        with closing(apsw.Connection(str(router.database))) as database:
            database.execute("UPDATE trust_pairings SET expires_at = '2020-01-01T00:00:00.000Z'")
        assert error_of(await claim(router, code)) == (400, "expired")
        assert await providers(router) == []


# Signed claims


async def test_a_signed_claim_is_shown_as_signed(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        answer = await claim(router, code, signature=sign_claim(KEY, NETWORK.caip2, code))
        assert answer.status_code == 200
        await router.pair("alice", "a" * 64)
        assert {each["provider_pubkey"]: each["signed"] for each in await providers(router)} == {
            PUBKEY: True,
            "a" * 64: False,
        }


async def test_a_claim_with_a_wrong_signature_pairs_nobody_and_leaves_the_code_good(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code, other_code = await new_code(router), await new_code(router)
        right = sign_claim(KEY, NETWORK.caip2, code)
        wrong = {
            "by another key": sign_claim(OTHER, NETWORK.caip2, code),
            "for another network": sign_claim(KEY, MONAD, code),
            "for another code": sign_claim(KEY, NETWORK.caip2, other_code),
            "not base64": "?" * 88,
            "empty": "",
            "cut off": right[:-4],
            "with space": right + " ",
        }
        for kind, signature in wrong.items():
            answer = await claim(router, code, signature=signature)
            assert error_of(answer) == (400, "bad_signature"), kind
        assert await providers(router) == []
        assert (await claim(router, code, signature=right)).status_code == 200


async def test_a_signed_claim_cannot_be_turned_to_another_key(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        signature = sign_claim(KEY, NETWORK.caip2, code)
        answer = await claim(router, code, signature=signature, provider_pubkey=public_key_hex(OTHER))
        assert error_of(answer) == (400, "bad_signature")


# Revoking


async def test_the_owner_ends_a_pairing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.pair("alice", PUBKEY)
        answer = await revoke(router, owner("alice"))
        assert answer.status_code == 200
        assert list(answer.json()) == ["user_id", "provider_pubkey", "revoked_at"]
        assert (answer.json()["user_id"], answer.json()["provider_pubkey"]) == ("alice", PUBKEY)
        assert await providers(router) == []
        assert error_of(await revoke(router, owner("alice"))) == (404, "not_found")


async def test_nobody_else_ends_a_pairing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.pair("alice", PUBKEY)
        assert error_of(await revoke(router)) == (401, "unauthorized")
        for headers in (owner("mallory"), bearer("x")):
            assert error_of(await revoke(router, headers)) == (403, "forbidden")
        assert [each["provider_pubkey"] for each in await providers(router)] == [PUBKEY]


async def test_revoking_for_ones_own_user_touches_nobody_elses(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.pair("alice", PUBKEY)
        await router.pair("mallory", "a" * 64)
        assert error_of(await revoke(router, owner("mallory"), "mallory")) == (404, "not_found")
        assert [each["provider_pubkey"] for each in await providers(router)] == [PUBKEY]


@pytest.mark.parametrize("pubkey", ["A" * 64, "a" * 63, "list%2F", "%00"])
async def test_revoking_what_is_no_key_is_refused(tmp_path: Path, pubkey: str) -> None:
    async with coordinator(tmp_path) as router:
        assert error_of(await revoke(router, owner("alice"), pubkey=pubkey)) == (400, "invalid_request")


async def test_a_revoked_worker_gets_no_private_job_any_more(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as own:
        await own.register(proven=True)
        await router.pair("alice", own.pubkey)
        await own.serve(await router.commit(**PRIVATE))
        assert (await revoke(router, owner("alice"), pubkey=own.pubkey)).status_code == 200
        answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK | PRIVATE)
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")


async def test_a_private_job_under_way_is_taken_back_from_a_revoked_worker(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as own:
        await own.register(proven=True)
        await router.pair("alice", own.pubkey)
        job_id = await router.commit(**PRIVATE)
        await own.receive("job_assign")
        await revoke(router, owner("alice"), pubkey=own.pubkey)
        assert (await own.receive("job_cancel"))["job_id"] == job_id
        ack = await own.ask(own.completion(job_id))
        assert (ack["type"], ack["status"]) == ("job_ack", "stale")
        assert (await router.job(job_id))["result"] is None


# Secrets


async def test_neither_codes_nor_tokens_nor_signatures_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[str] = []
    async with coordinator(tmp_path) as router:
        created = (await create(router)).json()
        code, token = created["pairing_code"], created["user_token"]
        signature = sign_claim(KEY, NETWORK.caip2, code)
        secrets += [code, token, signature]
        for answer in (
            await create(router, bearer(token[:-1] + "_")),
            await claim(router, code + "X"),
            await claim(router, code, signature=signature[::-1]),
            await revoke(router, bearer(token)),
        ):
            assert not [secret for secret in secrets if secret in answer.text]
    assert not [secret for secret in secrets if secret in caplog.text]


# Wrong claims from one address; addresses of this machine stand for other machines'


@pytest.fixture
def _limits_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_claims, "is_limited", lambda address: True)


@pytest.mark.usefixtures("_limits_here_too")
async def test_an_address_that_guesses_is_refused_even_with_a_right_code_for_an_hour(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        for number in range(MAX_WRONG_CLAIMS):
            assert error_of(await claim(router, f"WRONG{number}")) == (400, "invalid_code")
        refused = await claim(router, code)
        assert error_of(refused) == (429, "rate_limited")
        assert 3_590 <= int(refused.headers["Retry-After"]) <= 3_600
        assert await providers(router) == []


@pytest.mark.usefixtures("_limits_here_too")
async def test_guesses_sent_at_once_do_not_slip_through(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answers = await asyncio.gather(*(claim(router, f"WRONG{number}") for number in range(30)))
        assert sorted(answer.status_code for answer in answers) == [400] * MAX_WRONG_CLAIMS + [429] * 20


@pytest.mark.usefixtures("_limits_here_too")
async def test_right_claims_and_old_codes_are_no_guesses(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        code = await new_code(router)
        assert (await claim(router, code)).status_code == 200
        for _ in range(2 * MAX_WRONG_CLAIMS):
            assert error_of(await claim(router, code)) == (400, "already_claimed")


def guesses(claims: WrongClaims, address: str, times: int = 100) -> int:
    """Try so many wrong codes; how many were let through."""
    through = 0
    for _ in range(times):
        try:
            claims.begin(address)
        except RateLimitedError:
            continue
        through += 1
    return through


def test_each_address_has_its_own_count_and_a_new_one_after_an_hour() -> None:
    clock = FakeClock()
    claims = WrongClaims(clock.steady_ms)
    assert guesses(claims, "203.0.113.7") == MAX_WRONG_CLAIMS
    assert guesses(claims, "203.0.113.8") == MAX_WRONG_CLAIMS
    clock.advance(WRONG_CLAIMS_WINDOW_MS - 1)
    assert guesses(claims, "203.0.113.7") == 0
    clock.advance(1)
    assert guesses(claims, "203.0.113.7") == MAX_WRONG_CLAIMS


def test_a_whole_ipv6_network_counts_as_one_address() -> None:
    claims = WrongClaims(FakeClock().steady_ms)
    through = sum(guesses(claims, f"2001:db8::{number:x}", 1) for number in range(50))
    assert through == MAX_WRONG_CLAIMS


def test_this_machine_is_not_counted() -> None:
    assert guesses(WrongClaims(FakeClock().steady_ms), "127.0.0.1") == 100


def test_addresses_are_forgotten_after_their_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_claims, "_ADDRESSES_KEPT", 5)
    clock = FakeClock()
    claims = WrongClaims(clock.steady_ms)
    for number in range(20):
        guesses(claims, f"203.0.113.{number}", 1)
    assert len(claims) <= 6
    clock.advance(WRONG_CLAIMS_WINDOW_MS)
    guesses(claims, "198.51.100.1", 1)
    assert len(claims) == 1
