"""Earnings, signed payout addresses, and the steps of payouts, asked over HTTP as anybody can."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute_router.actors.runtime import ask
from compute_router.protocol.messages import registration_message
from compute_router.protocol.payout_api import PayoutStepRequest
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import MicroUsd
from compute_router.transport.authentication import AuthMode
from compute_router.transport.payer.coordinator_book import BookError, CoordinatorBook
from tests.fakes.payouts import paid_job
from tests.transport.accounts import STRANGER, Accounts, accounts, told
from tests.transport.harness import NETWORK, Coordinator, coordinator
from tests.transport.worker_client import WorkerClient, worker

HOME = "So11111111111111111111111111111111111111112"
ELSEWHERE = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
NOBODY = "0" * 8


def naming(client: WorkerClient, address: str, *, signed: str | None = None) -> dict[str, Any]:
    """A registration that names an address, and signs it or another one."""
    nonce, network = client.challenge["nonce"], client.challenge["network"]
    message = registration_message(network, nonce, client.pubkey, signed or address)
    return client.registration(nonce=nonce, signature=client.sign(message), payout_address=address)


async def named(client: WorkerClient, address: str = HOME) -> None:
    ack = await client.ask(naming(client, address))
    assert ack["status"] == "ok", ack


async def earn(router: Coordinator, pubkey: str, amount: int = 5_000, job: str = "paid") -> None:
    for request in paid_job(job, pubkey, amount):
        await ask(router.system.store, request)


async def earnings(router: Coordinator, pubkey: str) -> dict[str, Any]:
    answer = await router.http.get(f"/v1/workers/{pubkey}/earnings")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def recorded(there: Accounts, threshold: int = 1) -> list[dict[str, Any]]:
    answer = await there.ask("POST", "/v1/payouts", there.admin, {"threshold": threshold})
    assert answer.status_code == 201, answer.text
    return list(answer.json()["payouts"])


async def step(there: Accounts, payout_id: str, event: str, **fields: Any) -> httpx.Response:
    return await there.ask("POST", f"/v1/payouts/{payout_id}", there.admin, {"event": event} | fields)


SIGNED = {"transaction_data": "{}", "transaction_ref": "ref"}


# Addresses


async def test_a_signed_address_is_kept_and_the_newest_one_counts(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        async with worker(router.port) as client:
            await named(client)
            await client.hears_nothing()
            assert (await earnings(router, client.pubkey))["payout_address"] == HOME
        async with worker(router.port, client.key) as again:
            await named(again, ELSEWHERE)
            await again.hears_nothing()
            assert (await earnings(router, client.pubkey))["payout_address"] == ELSEWHERE


async def test_an_address_without_proof_is_ignored(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(payout_address=HOME)
        await client.hears_nothing()
        assert (await earnings(router, client.pubkey))["payout_address"] is None


async def test_an_address_that_the_signature_does_not_cover_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        async with worker(router.port) as client:
            ack = await client.ask(naming(client, HOME, signed=ELSEWHERE))
            assert ack["status"] == "error", ack
        async with worker(router.port, client.key) as client:
            ack = await client.ask(client.registration(proven=True, payout_address=HOME))
            assert ack["status"] == "error", ack
        async with worker(router.port, client.key) as client:
            await client.register(proven=True)
            ack = await client.ask(client.registration(payout_address=HOME))
            assert (ack["status"], ack["error"]) == ("error", "the payout address is not signed")
        assert (await earnings(router, client.pubkey))["payout_address"] is None


async def test_a_signature_for_an_address_proves_nothing_without_it(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        frame = naming(client, HOME)
        del frame["payout_address"]
        assert (await client.ask(frame))["status"] == "error"


@pytest.mark.parametrize(
    "address", ["0x534b2f3A21130d7a60830c2Df862319e593943A3", "1" * 32, "no address", "é" * 40]
)
async def test_an_address_of_another_chain_or_of_nobody_is_refused(tmp_path: Path, address: str) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        ack = await client.ask(naming(client, address))
        assert ack["status"] == "error"
        assert "payout address" in ack["error"]
        assert (await earnings(router, client.pubkey))["payout_address"] is None


# Earnings


async def test_whoever_earned_nothing_has_zeros(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        pubkey = "a" * 64
        assert await earnings(router, pubkey) == {
            "provider_pubkey": pubkey,
            "payout_address": None,
            "earned": 0,
            "paid_out": 0,
            "pending": 0,
            "under_way": 0,
            "payouts": [],
        }


@pytest.mark.parametrize("pubkey", ["A" * 64, "a" * 63, "%2e%2e"])
async def test_what_is_no_key_has_no_earnings(tmp_path: Path, pubkey: str) -> None:
    async with coordinator(tmp_path) as router:
        assert told(await router.http.get(f"/v1/workers/{pubkey}/earnings"))[0] == 404


async def test_the_steps_of_a_payout_are_seen_in_the_earnings(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        (payout,) = await recorded(there)
        assert (payout["address"], payout["amount"], payout["state"]) == (HOME, 5_000, "recorded")
        assert (await earnings(there.router, client.pubkey))["under_way"] == 5_000
        assert (await step(there, payout["payout_id"], "send", **SIGNED)).json()["transaction_data"] == "{}"
        assert (await step(there, payout["payout_id"], "settle")).status_code == 200
        found = await earnings(there.router, client.pubkey)
        assert (found["earned"], found["paid_out"], found["pending"], found["under_way"]) == (
            5_000,
            5_000,
            0,
            0,
        )
        (shown,) = found["payouts"]
        assert (shown["state"], shown["transaction_ref"]) == ("settled", "ref")
        assert "transaction_data" not in shown


async def test_the_worker_is_told_how_its_payout_ended(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        (payout,) = await recorded(there)
        await step(there, payout["payout_id"], "refuse", reason="no gas")
        facts = {"job_ids": [], "payout_id": payout["payout_id"], "amount": "$0.005", "address": HOME}
        assert await client.receive() == facts | {"type": "payment_failed", "reason": "no gas"}
        (payout,) = await recorded(there)
        await step(there, payout["payout_id"], "send", **SIGNED)
        await step(there, payout["payout_id"], "settle")
        facts["payout_id"] = payout["payout_id"]
        assert await client.receive() == facts | {"type": "payment_posted", "transaction_ref": "ref"}


async def test_a_connection_that_proved_nothing_is_not_told(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:
        async with worker(there.router.port) as client:
            await named(client)
            await client.hears_nothing()
        await earn(there.router, client.pubkey)
        (payout,) = await recorded(there)
        async with worker(there.router.port, client.key) as pretender:
            await pretender.register()
            await step(there, payout["payout_id"], "refuse")
            await pretender.hears_nothing()


# The book


async def test_the_book_opens_with_an_admin_key_only(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:
        user = await there.make_key()
        for method, path, body in (
            ("GET", "/v1/payouts", None),
            ("POST", "/v1/payouts", {"threshold": 1}),
            ("POST", f"/v1/payouts/{NOBODY}", {"event": "settle"}),
        ):
            for api_key, expected in ((None, 401), (STRANGER, 401), (user, 403)):
                assert told(await there.ask(method, path, api_key, body))[0] == expected, (method, path)


async def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        for threshold, payable in (("5000", 1), ("5001", 0)):
            plan = (await there.ask("GET", f"/v1/payouts?threshold={threshold}", there.admin)).json()
            assert (plan["network"], len(plan["payable"]), plan["open"]) == (NETWORK.caip2, payable, [])


async def test_a_worker_has_one_open_payout_at_the_most(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        assert len(await recorded(there)) == 1
        await earn(there.router, client.pubkey, job="another")
        assert await recorded(there) == []


async def test_each_step_is_taken_once_and_in_order(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        (payout,) = await recorded(there)
        name = payout["payout_id"]
        for event in ("settle", "lose_track"):
            assert told(await step(there, name, event)) == (409, "payout_conflict")
        assert (await step(there, name, "send", **SIGNED)).status_code == 200
        assert told(await step(there, name, "send", **SIGNED)) == (409, "payout_conflict")
        anew = {"transaction_data": "{}", "transaction_ref": "anew"}
        refused = await step(there, name, "send_anew", **anew, replaces="other")
        assert told(refused) == (409, "payout_conflict")
        taken = await step(there, name, "send_anew", **anew, replaces="ref")
        assert (taken.json()["state"], taken.json()["transaction_ref"]) == ("sent", "anew")
        refused = await step(there, name, "send_anew", **anew, replaces="ref")
        assert told(refused) == (409, "payout_conflict")
        assert (await step(there, name, "settle")).status_code == 200
        for event in ("settle", "refuse", "lose_track"):
            assert told(await step(there, name, event)) == (409, "payout_conflict")
        assert (await earnings(there.router, client.pubkey))["paid_out"] == 5_000


@pytest.mark.parametrize(
    "body",
    [
        {"event": "send"},
        {"event": "send", "transaction_ref": "ref"},
        {"event": "send", "transaction_data": "{}"},
        {"event": "settle", "transaction_data": "{}"},
        {"event": "settle", "replaces": "ref"},
        {"event": "send", **SIGNED, "replaces": "ref"},
        {"event": "send_anew", **SIGNED},
        {"event": "send_anew", "replaces": "ref"},
        {"event": "send_anew", "replaces": "ref", "transaction_ref": "ref"},
        {"event": "pay"},
        {"event": "settle", "amount": 1},
        {"event": None},
        [],
    ],
)
async def test_a_step_that_says_too_little_or_too_much_is_refused(tmp_path: Path, body: Any) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:
        assert told(await there.ask("POST", f"/v1/payouts/{NOBODY}", there.admin, body))[0] == 400


@pytest.mark.parametrize("body", [{"threshold": 0}, {"threshold": "1"}, {"threshold": 1, "limit": 0}, {}])
async def test_a_batch_without_a_threshold_is_refused(tmp_path: Path, body: Any) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:
        assert told(await there.ask("POST", "/v1/payouts", there.admin, body))[0] == 400


@pytest.mark.parametrize(
    "query", ["threshold=0", "threshold=-1", "limit=201", "threshold=x", "limit=1&limit=2"]
)
async def test_a_plan_with_a_bad_query_is_refused(tmp_path: Path, query: str) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:
        assert told(await there.ask("GET", f"/v1/payouts?{query}", there.admin))[0] == 400


async def test_the_payer_reads_and_writes_the_book(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        url = f"http://127.0.0.1:{there.router.port}"
        async with CoordinatorBook(url, there.admin, NETWORK.caip2) as book:
            assert [one.amount for one in (await book.plan(MicroUsd(1), 10)).payable] == [5_000]
            await book.record(MicroUsd(1), 10)
            (payout,) = (await book.plan(MicroUsd(1), 10)).open
            step = partial(book.step, payout.payout_id)
            assert await step(PayoutStepRequest(PayoutEvent.SEND, "{}", "ref"))
            assert not await step(PayoutStepRequest(PayoutEvent.SEND, "{}", "other"))
            assert not await step(PayoutStepRequest(PayoutEvent.SEND_ANEW, "{}", "anew", replaces="other"))
            assert await step(PayoutStepRequest(PayoutEvent.SEND_ANEW, "{}", "anew", replaces="ref"))
            assert await step(PayoutStepRequest(PayoutEvent.SETTLE, transaction_ref="ref"))
        async with CoordinatorBook(url, there.admin, "eip155:10143") as book:
            with pytest.raises(BookError, match="serves solana"):
                await book.plan(MicroUsd(1), 10)
        async with CoordinatorBook(url, STRANGER, NETWORK.caip2) as book:
            with pytest.raises(BookError, match="401"):
                await book.record(MicroUsd(1), 10)


async def test_a_coordinator_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with CoordinatorBook("http://127.0.0.1:9", STRANGER, NETWORK.caip2) as book:
        with pytest.raises(BookError, match="cannot be asked"):
            await book.plan(MicroUsd(1), 10)
