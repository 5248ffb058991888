"""A job that is paid for, from the 402 to the result."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.schemas import PaymentRequired
from x402.schemas.v1 import PaymentRequiredV1

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.receipts import verify_signature
from tests.fakes.signed_payments import v2_headers
from tests.transport.disks import Disk
from tests.transport.harness import coordinator
from tests.transport.payments.till import DOLLAR, PAY_TO, PRICE, both_chains, paid, required, told
from tests.transport.test_job_events import events_of
from tests.transport.worker_client import worker


@both_chains
async def test_a_commit_without_a_payment_is_told_what_it_costs_in_both_versions(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        answer = await till.post()
        assert told(answer) == (402, "payment_required")
        newer = decode_payment_required_header(answer.headers["payment-required"])
        assert isinstance(newer, PaymentRequired)
        (wanted,) = newer.accepts
        assert (wanted.scheme, wanted.network) == ("exact", NETWORKS[chain].caip2)
        assert (wanted.amount, wanted.pay_to) == (str(PRICE), PAY_TO[chain])
        older = PaymentRequiredV1.model_validate(answer.json())
        assert older.accepts[0].max_amount_required == wanted.amount
        assert older.accepts[0].pay_to == wanted.pay_to
        assert older.accepts[0].extra == wanted.extra
        assert till.router.count("jobs") == 0


@both_chains
@pytest.mark.parametrize("version", [1, 2])
async def test_a_paid_job_is_charged_when_it_is_done_and_then_its_result_is_given(
    tmp_path: Path, chain: Chain, version: int
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id = await till.commit(await (till.payment() if version == 2 else till.payment_v1()))
        assert till.left == DOLLAR
        await client.serve(job_id)
        answer = await till.router.http.get(f"/v1/jobs/{job_id}?wait=10")
        job = answer.json()
        assert (job["status"], job["payment"]["state"]) == ("completed", "settled")
        assert job["payment"]["transaction_ref"] == job["payment_ref"] == next(iter(till.play.used.values()))
        assert till.left == DOLLAR - PRICE
        assert till.play.got == {PAY_TO[chain]: PRICE}
        settled = decode_payment_response_header(answer.headers["payment-response"])
        assert (settled.success, settled.transaction) == (True, job["payment_ref"])
        assert (settled.network, settled.amount) == (NETWORKS[chain].caip2, str(PRICE))
        older = json.loads(base64.b64decode(answer.headers["x-payment-response"]))
        assert older["transaction"] == job["payment_ref"]
        assert till.facilitator.count("/settle") == 1
        kept = (await till.router.http.get(f"/v1/receipts/{job_id}")).json()
        assert kept["payment_ref"] == job["payment_ref"]
        assert json.loads(kept["receipt"])["payment_ref"] is None, "what the worker signed stays as it is"
        verify_signature(kept["provider_pubkey"], kept["receipt"].encode(), kept["signature"])
        assert till.router.query("SELECT payment_ref FROM receipts") == [(job["payment_ref"],)]


@both_chains
async def test_the_facilitator_gets_what_was_checked_and_nothing_else(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        loaded = inner | {"permit2Authorization": {"from": "somebody"}, "more": 1}
        await till.commit(v2_headers(wanted, loaded, extensions={"x": 1}, resource={"url": "http://evil"}))
        sent = till.facilitator.bodies[-1]["paymentPayload"]
        assert sent["payload"] == inner
        assert set(sent) == {"x402Version", "resource", "accepted", "payload"}
        assert sent["resource"]["url"].endswith("/v1/jobs/commit/cheap")


@both_chains
async def test_the_price_is_that_of_the_job_in_the_body_on_either_endpoint(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        prices = {}
        for tier in ("fast", "cheap"):
            for body in (
                {"job_type": "TASK", "user_id": "a", "payload": {"task_type": "summarize", "input": "x"}},
                {"job_type": "LLM_INFER", "user_id": "a", "payload": {"prompt": "x"}},
            ):
                answer = await till.router.http.post(f"/v1/jobs/commit/{tier}", json=body)
                prices[tier, body["job_type"]] = required(answer)["accepts"][0]["amount"]
        assert prices == {
            ("fast", "TASK"): "3000",
            ("fast", "LLM_INFER"): "10000",
            ("cheap", "TASK"): "1000",
            ("cheap", "LLM_INFER"): "5000",
        }


@both_chains
async def test_a_result_is_withheld_until_it_is_paid_for(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.play.readable = False
        till.facilitator.faults["/settle"] = (500, b"{}")
        job_id = await till.serve(client)
        job = await till.router.job(job_id)
        assert (job["status"], job["result"], job["receipt"]) == ("running", None, None)
        assert (job["completed_at"], job["payment"]["state"]) == (None, "settling") or job["payment"][
            "state"
        ] == "unknown"
        assert (await till.router.http.get(f"/v1/receipts/{job_id}")).status_code == 409
        poll = asyncio.ensure_future(till.router.job(job_id, wait=20))
        till.facilitator.faults.clear()
        till.play.readable = True
        assert (await poll)["status"] == "completed"
        assert till.left == DOLLAR - PRICE


@both_chains
async def test_the_events_of_a_job_end_with_its_result_when_that_is_paid_for(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.play.readable = False
        till.facilitator.faults["/settle"] = (500, b"{}")
        job_id = await till.commit()
        async with events_of(till.router, job_id) as early:
            await client.receive("job_assign")
            chunk = {"type": "job_chunk", "job_id": job_id, "attempt": 1, "seq": 0, "delta": "the output"}
            client.send(chunk)
            ack = await client.ask(client.completion(job_id))
            assert ack["status"] == "accepted"
            async with events_of(till.router, job_id) as late:
                till.facilitator.faults.clear()
                till.play.readable = True
                heard = [event async for event in early]
                assert [event async for event in late] == heard[-1:]
        assert heard[-1][0] == "job"
        assert heard[-1][1]["payment"]["state"] == "settled"
        assert "chunk" not in [name for name, _ in heard], "pieces of what is not paid for yet"


@both_chains
async def test_a_job_whose_settlement_is_refused_says_so_and_keeps_its_result(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id = await till.commit()
        till.play.has[till.seeker.address.lower()] = 0
        await client.serve(job_id)
        answer = await till.router.http.get(f"/v1/jobs/{job_id}?wait=20")
        job = answer.json()
        assert (job["status"], job["result"]["error"]) == ("failed", "payment_failed")
        assert (job["receipt"], job["payment"]["state"]) == (None, "void")
        assert json.loads(base64.b64decode(answer.headers["payment-response"]))["success"] is False
        assert till.play.got == {}


@both_chains
async def test_a_job_that_is_cancelled_is_never_charged(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        job_id = await till.commit()
        answer = await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert (answer.json()["status"], answer.json()["payment"]["state"]) == ("cancelled", "void")
        assert (till.left, till.facilitator.count("/settle")) == (DOLLAR, 0)


@both_chains
async def test_what_cannot_be_served_is_refused_before_any_money_is_asked_for(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, max_body_bytes=1000) as till:
        assert (await till.post(job_type="DREAM")).status_code == 400
        assert (await till.post(user_id="x" * 2000)).status_code == 413
        answer = await till.post(await till.payment(), privacy_class="PRIVATE")
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")
        assert (await till.router.job(answer.json()["job_id"]))["status"] == "failed"
        assert till.facilitator.count("/verify") == 0
        assert till.router.count("payments") == 0


@both_chains
async def test_a_job_that_nobody_trusted_can_run_is_never_stored_as_one_to_be_done_unpaid(
    tmp_path: Path, chain: Chain
) -> None:
    disk = Disk()
    async with paid(tmp_path, chain, disk=disk) as till:
        headers = await till.payment()
        # As if the coordinator died when it had looked up who is trusted, and had then written once.
        disk.fail_after(2)
        await till.post(headers, privacy_class="PRIVATE")
        assert till.router.query("SELECT status FROM jobs") == [("failed",)]
        disk.full = False


async def test_free_jobs_say_nothing_of_payments(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job = await router.job(await router.commit())
        assert set(job) == {"id", "status", "result", "receipt", "created_at", "completed_at"}
        assert (await router.http.get("/.well-known/x402")).status_code == 404
        quote = (await router.http.get("/v1/quote?job_type=TASK")).json()
        assert (quote["expires_at"], "signed_quote" in quote) == (None, False)
