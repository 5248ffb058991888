"""The discovery document says what is sold, in the words of x402's own discovery."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from x402.schemas import PaymentRequirements
from x402.schemas.v1 import PaymentRequirementsV1

from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.networks import NETWORKS, Chain
from tests.transport.harness import coordinator
from tests.transport.payments.till import PAY_TO, Paid, both_chains, paid, required

FIELDS_OF_X402 = {"resource", "type", "x402Version", "accepts", "description", "mimeType", "extensions"}
"""What a resource is called in the answers of ``/discovery/resources``, that are of use here."""


async def document(till: Paid) -> dict[str, Any]:
    answer = await till.router.http.get("/.well-known/x402")
    assert answer.status_code == 200
    return dict(answer.json())


@both_chains
async def test_it_names_every_kind_of_job_on_both_endpoints_in_both_versions(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        found = await document(till)
    assert (found["x402Version"], found["network"]) == (2, NETWORKS[chain].caip2)
    assert found["payTo"] == PAY_TO[chain]
    kinds = [(sold["x402Version"], sold["tier"], sold["jobType"]) for sold in found["resources"]]
    assert kinds == [
        (version, tier.value, kind.value) for version, tier, kind in itertools.product((2, 1), Tier, JobType)
    ]


@both_chains
async def test_what_it_asks_for_is_what_a_commit_is_asked_for(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        for sold in (await document(till))["resources"]:
            path = sold["resource"].partition(f"127.0.0.1:{till.router.port}")[2]
            body = sold["extensions"]["bazaar"]["info"]["input"]["body"]
            assert body["job_type"] == sold["jobType"]
            answer = await till.router.http.request(sold["method"], path, json=body)
            asked = required(answer) if sold["x402Version"] == 2 else answer.json()
            assert asked["accepts"] == sold["accepts"]


@both_chains
async def test_its_entries_are_those_of_x402(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        resources = (await document(till))["resources"]
    for sold in resources:
        assert set(sold) >= FIELDS_OF_X402
        assert sold["type"] == "http"
        kind = PaymentRequirements if sold["x402Version"] == 2 else PaymentRequirementsV1
        (accepted,) = sold["accepts"]
        kind.model_validate(accepted, strict=True)


@both_chains
async def test_its_examples_fit_their_schemas(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        resources = (await document(till))["resources"]
    for sold in resources:
        bazaar = sold["extensions"]["bazaar"]
        schema = bazaar["schema"]["properties"]["input"]
        given = bazaar["info"]["input"]
        assert set(schema["required"]) == set(given) == {"type", "method", "bodyType", "body"}
        assert (given["type"], given["method"], given["bodyType"]) == ("http", sold["method"], "json")
        of_body = schema["properties"]["body"]
        assert set(of_body["required"]) == set(given["body"])
        of_payload = of_body["properties"]["payload"]
        assert set(of_payload["required"]) <= set(given["body"]["payload"]) <= set(of_payload["properties"])


async def test_where_jobs_are_free_there_is_nothing_to_discover(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get("/.well-known/x402")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@both_chains
async def test_an_address_that_is_none_is_not_repeated(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        answer = await till.router.http.get("/.well-known/x402", headers={"Host": "evil/<script>"})
        assert "<script>" not in answer.text
        assert answer.json()["resources"][0]["resource"].startswith("http://localhost/")
