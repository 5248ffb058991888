"""The facilitator is down, slow, broken or lies: nobody is charged twice, nor for nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compute_router.actors.messages.stored_earnings import FindPayment
from compute_router.actors.runtime import ask
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import Unknown
from tests.fakes.facilitator_server import CUT, LATE, SILENT, FacilitatorServer
from tests.fakes.signed_payments import v2_headers
from tests.transport.payments.till import DOLLAR, PRICE, Paid, both_chains, paid, told
from tests.transport.worker_client import worker


def says(**fields: Any) -> tuple[int, bytes]:
    return 200, json.dumps(fields).encode()


async def refused_for_now(till: Paid, headers: dict[str, str]) -> None:
    answer = await till.post(headers)
    assert (answer.status_code, answer.json()["error"]) == (503, "payments_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert till.router.count("payments") == 0


UNUSABLE = [
    CUT,
    SILENT,
    (500, b"{}"),
    (429, b"slow down"),
    (200, b"<html>"),
    (200, b"{}"),
    (200, b"[" * 100_000),
    (200, b'{"isValid": "yes"}'),
    (200, b" " * 300_000),
    (302, b'{"isValid": true}'),
    (400, b'{"isValid": true}'),
]


@both_chains
@pytest.mark.parametrize("fault", UNUSABLE, ids=lambda fault: str(fault)[:24])
async def test_without_a_clear_answer_no_payment_is_taken(tmp_path: Path, chain: Chain, fault: Any) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = fault
        await refused_for_now(till, headers)
        till.facilitator.faults.clear()
        await till.commit(headers)


@both_chains
async def test_a_question_that_got_no_answer_is_asked_again(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = CUT
        await refused_for_now(till, headers)
        assert till.facilitator.count("/verify") == 2


@both_chains
async def test_while_it_is_down_it_is_left_in_peace_and_commits_are_refused_at_once(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        await till.facilitator.stop()
        for _ in range(3):
            await refused_for_now(till, headers)
        await refused_for_now(till, {})
        asked = len(till.facilitator.asked)
        await refused_for_now(till, headers)
        assert len(till.facilitator.asked) == asked
        await till.facilitator.start()
        assert await till.remote.healthy() is None
        await till.commit(headers)


@both_chains
async def test_the_coordinator_starts_without_it(tmp_path: Path, chain: Chain) -> None:
    def broken(server: FacilitatorServer) -> None:
        server.faults["/supported"] = (503, b"")

    async with paid(tmp_path, chain, before=broken) as till:
        problem = await till.remote.healthy()
        assert problem is not None
        assert till.remote.url in problem
        await refused_for_now(till, {})
        assert (await till.router.http.get("/v1/quote?job_type=TASK")).status_code == 200
        till.facilitator.faults.clear()
        assert await till.remote.healthy() is None
        await till.commit()


@both_chains
@pytest.mark.parametrize(
    "kinds",
    [
        [],
        [{"x402Version": 1, "scheme": "exact", "network": "monad-testnet"}],
        [{"x402Version": 2, "scheme": "upto", "network": "eip155:10143"}],
        [{"x402Version": 2, "scheme": "exact", "network": "eip155:1"}],
    ],
    ids=str,
)
async def test_one_that_serves_something_else_is_not_well(tmp_path: Path, chain: Chain, kinds: Any) -> None:
    async with paid(tmp_path, chain) as till:
        till.facilitator.faults["/supported"] = says(kinds=kinds, extensions=[], signers={})
        problem = await till.remote.healthy()
        assert problem is not None
        assert NETWORKS[chain].caip2 in problem


@both_chains
async def test_one_that_verifies_for_another_payer_is_not_believed(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = says(isValid=True, payer="somebody")
        assert told(await till.post(headers)) == (402, "payment_refused")


async def test_one_that_calls_everything_good_does_not_make_other_amounts_good(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        till.facilitator.faults["/verify"] = says(isValid=True)
        wanted = await till.wanted()
        headers = v2_headers(wanted, till.seeker.sign(wanted, value="1"))
        assert told(await till.post(headers)) == (402, "payment_mismatch")


@both_chains
async def test_its_own_words_are_shown_only_if_they_are_a_code(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        for said, shown in (("bad_thing", "bad_thing"), ("<script>", "refused"), ("x" * 500, "refused")):
            till.facilitator.faults["/verify"] = says(isValid=False, invalidReason=said)
            answer = await till.post(await till.payment())
            assert told(answer) == (402, "payment_refused")
            assert answer.json()["message"] == f"The payment was refused: {shown}."


@both_chains
async def test_why_it_cannot_settle_is_told_in_its_own_sentence_if_that_is_a_plain_one(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        for plain in ("The node serves chain 1, and this facilitator chain 10143.", "0x12 has no MON."):
            till.facilitator.faults["/supported"] = (
                503,
                json.dumps({"error": "e", "message": plain}).encode(),
            )
            assert (await till.remote.healthy() or "").endswith(f"settles no payments now: {plain}")
        for other in ("<b>bold</b>.", "two\nlines.", "x" * 500 + ".", "", 7):
            till.facilitator.faults["/supported"] = (
                503,
                json.dumps({"error": "e", "message": other}).encode(),
            )
            assert (await till.remote.healthy() or "").endswith("does not answer: status 503.")


# Settlement


@both_chains
@pytest.mark.parametrize("fault", [CUT, SILENT])
async def test_a_settlement_whose_answer_is_lost_is_found_on_the_chain_and_not_asked_for_again(
    tmp_path: Path, chain: Chain, fault: str
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.facilitator.faults["/settle"] = fault
        job = await till.router.job(await till.serve(client), wait=20)
        assert (job["status"], job["payment"]["state"]) == ("completed", "settled")
        assert job["payment_ref"] in till.play.used.values()
        assert (till.left, till.facilitator.count("/settle")) == (DOLLAR - PRICE, 1)


@both_chains
async def test_a_settlement_that_is_answered_after_our_time_out_is_charged_once(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.facilitator.faults["/settle"] = LATE
        job_id = await till.serve(client)
        job = await till.router.job(job_id, wait=20)
        assert (job["status"], job["payment"]["state"]) == ("completed", "settled")
        till.facilitator.late.set()
        await till.facilitator.stop()
        assert await till.router.job(job_id) == job
        assert (till.left, till.facilitator.count("/settle")) == (DOLLAR - PRICE, 1)


@both_chains
async def test_a_payment_that_is_found_good_after_our_time_out_is_not_taken(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = LATE
        await refused_for_now(till, headers)
        till.facilitator.late.set()
        till.facilitator.faults.clear()
        assert (till.router.count("jobs"), till.router.count("payments")) == (0, 0)
        await till.commit(headers)


@both_chains
@pytest.mark.parametrize("status", [201, 302, 400, 429, 500, 503])
async def test_a_settlement_that_is_claimed_together_with_an_error_is_not_known(
    tmp_path: Path, chain: Chain, status: int
) -> None:
    async with paid(tmp_path, chain) as till:
        await till.commit()
        ((payment_id,),) = till.router.query("SELECT payment_id FROM payments")
        payment = await ask(till.router.system.store, FindPayment(payment_id))

        def claims(asked: dict[str, Any]) -> tuple[int, bytes]:
            return status, json.dumps(till.facilitator.truth("/settle", asked)).encode()

        till.facilitator.faults["/settle"] = claims
        assert isinstance(await till.remote.settle(payment), Unknown)
        assert till.facilitator.count("/settle") == 1


LIES: list[dict[str, Any]] = [
    {},
    {"transaction": ""},
    {"transaction": "ok"},
    {"network": "eip155:1"},
    {"amount": "1"},
    {"payer": "somebody"},
]


@both_chains
@pytest.mark.parametrize("lie", LIES, ids=str)
async def test_a_settlement_that_never_was_is_not_believed(
    tmp_path: Path, chain: Chain, lie: dict[str, Any]
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        reference = "0x" + "1" * 64 if chain is Chain.MONAD else "5" * 88
        claim = {"success": True, "transaction": reference, "network": NETWORKS[chain].caip2} | lie
        till.facilitator.faults["/settle"] = says(**claim)
        job_id = await till.serve(client)
        job = await till.router.job(job_id)
        assert (job["status"], job["result"]) == ("running", None)
        till.facilitator.faults.clear()
        job = await till.router.job(job_id, wait=20)
        assert (job["status"], job["payment_ref"]) == ("completed", next(iter(till.play.used.values())))
        assert till.left == DOLLAR - PRICE


@both_chains
async def test_a_refusal_of_what_was_settled_before_is_no_refusal(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)

        def settles_twice(asked: dict[str, Any]) -> tuple[int, bytes]:
            till.facilitator.truth("/settle", asked)
            return 200, json.dumps(till.facilitator.truth("/settle", asked)).encode()

        till.facilitator.faults["/settle"] = settles_twice
        job = await till.router.job(await till.serve(client), wait=20)
        assert (job["status"], job["payment"]["state"]) == ("completed", "settled")
        assert till.left == DOLLAR - PRICE
