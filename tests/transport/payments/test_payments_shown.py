"""What health tells everybody about payments, and ``/v1/payments`` whoever has an admin key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.api_keys import KeyRequest, KeyScope
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.authentication import AuthMode
from tests.fakes.facilitator_server import SILENT
from tests.transport.accounts import STRANGER, accounts, bearer
from tests.transport.payments.till import PAY_TO, PRICE, Paid, both_chains, paid
from tests.transport.worker_client import worker

SHARE = PRICE - PRICE * 500 // 10_000
NOTHING = {"payments": 0, "amount": 0}
SETTLES_AT_ONCE = PaymentPolicy(early=DurationMs(10**10), retry_backoff=DurationMs(20))
"""Every authorization is about to expire, by this policy."""


def admin_key(directory: Path, chain: Chain) -> str:
    database = directory / NETWORKS[chain].default_database
    open_sqlite_store(database).close()
    return make_api_key(database, KeyRequest(KeyScope.ADMIN), UnixMs(1))


async def shown(till: Paid, admin: str) -> dict[str, Any]:
    answer = await till.router.http.get("/v1/payments", headers=bearer(admin))
    assert answer.status_code == 200, answer.text
    document = dict(answer.json())
    assert sum(document["ledger"].values()) == 0
    return document


async def health(till: Paid) -> dict[str, Any]:
    return dict((await till.router.http.get("/v1/health")).json()["payments"])


def states(document: dict[str, Any]) -> dict[str, int]:
    return {state: total["payments"] for state, total in document["by_state"].items() if total["payments"]}


@both_chains
async def test_anybody_is_told_that_jobs_are_paid_for_and_where_the_money_goes(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        assert await health(till) == {
            "enabled": True,
            "network": NETWORKS[chain].caip2,
            "asset": PAYMENT_NETWORKS[chain].asset,
            "pay_to": PAY_TO[chain],
            "facilitator_ok": True,
        }


@both_chains
async def test_a_facilitator_that_is_down_is_told(tmp_path: Path, chain: Chain) -> None:
    admin = admin_key(tmp_path, chain)
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults.update(dict.fromkeys(("/verify", "/supported"), (500, b"{}")))
        while (await health(till))["facilitator_ok"]:
            assert (await till.post(headers)).status_code == 503
        found = (await shown(till, admin))["facilitator"]
        assert (found["at"], found["breaker"]) == (till.remote.url, "open")
        assert found["retry_after_s"] >= 1


@both_chains
async def test_a_facilitator_that_cannot_check_one_payment_is_not_down(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = (500, b"{}")
        for _ in range(5):
            assert (await till.post(headers)).status_code == 503
        assert (await health(till))["facilitator_ok"]


@both_chains
async def test_the_sums_follow_a_job_from_its_commit_to_its_settlement(tmp_path: Path, chain: Chain) -> None:
    admin = admin_key(tmp_path, chain)
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        found = await shown(till, admin)
        assert (found["enabled"], found["pay_to"], found["fee_bps"]) == (True, PAY_TO[chain], 500)
        assert found["facilitator"] == {
            "at": till.facilitator.url, "problem": None, "breaker": "closed", "retry_after_s": 0
        }  # fmt: skip
        assert set(found["by_state"]) == {"reserved", "settling", "unknown", "settled", "void", "credited"}
        assert (states(found), found["unsettled"], found["oldest_settlement_s"]) == ({}, 0, None)
        job_id = await till.commit()
        found = await shown(till, admin)
        assert (states(found), found["unsettled"]) == ({"reserved": 1}, PRICE)
        await client.serve(job_id)
        assert (await till.router.job(job_id, wait=20))["status"] == "completed"
        found = await shown(till, admin)
        assert found["by_state"]["settled"] == {"payments": 1, "amount": PRICE}
        assert found["by_state"]["reserved"] == NOTHING
        assert (found["unsettled"], found["oldest_settlement_s"]) == (0, None)
        assert {name: amount for name, amount in found["ledger"].items() if amount} == {
            "payers": -PRICE,
            "workers_owed": SHARE,
            "fees": PRICE - SHARE,
        }


@both_chains
async def test_a_settlement_that_hangs_has_an_age(tmp_path: Path, chain: Chain) -> None:
    admin = admin_key(tmp_path, chain)
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.facilitator.faults["/settle"] = SILENT
        till.play.readable = False
        await till.serve(client)
        while (found := await shown(till, admin))["oldest_settlement_s"] is None:
            pass
        assert states(found).keys() <= {"settling", "unknown"}
        assert (found["unsettled"], found["ledger"]["receivable"]) == (PRICE, -PRICE)
        assert 0 <= found["oldest_settlement_s"] < 60


@both_chains
async def test_credits_and_losses_are_told(tmp_path: Path, chain: Chain) -> None:
    admin = admin_key(tmp_path, chain)
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        job_id = await till.commit()
        while (await till.router.job(job_id))["payment"]["state"] != "settled":
            pass
        assert (await shown(till, admin))["ledger"]["held"] == PRICE
        await till.router.http.delete(f"/v1/jobs/{job_id}")
        found = await shown(till, admin)
        assert (states(found), found["ledger"]["credits_outstanding"]) == ({"credited": 1}, PRICE)
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id = await till.commit()
        till.play.has[till.seeker.address.lower()] = 0
        await client.serve(job_id)
        assert (await till.router.job(job_id, wait=20))["status"] == "failed"
        found = await shown(till, admin)
        assert (states(found), found["ledger"]["losses"]) == ({"credited": 1, "void": 1}, -PRICE)


async def test_sums_are_for_admin_keys_alone_and_stay_when_payments_are_off(tmp_path: Path) -> None:
    async with accounts(tmp_path, AuthMode.OPEN) as there:

        async def asked(api_key: str | None) -> httpx.Response:
            return await there.ask("GET", "/v1/payments", api_key)

        assert (await asked(None)).status_code == 401
        assert (await asked(STRANGER)).status_code == 401
        assert (await asked(await there.make_key("alice"))).status_code == 403
        found = (await asked(there.admin)).json()
        assert (found["enabled"], found["pay_to"], found["facilitator"]) == (False, None, None)
        assert set(found["ledger"].values()) == {0}
