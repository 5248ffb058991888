"""A coordinator process that is paid, and one that is not."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.networks import Chain
from tests.fakes.facilitator_server import FacilitatorServer, PlayChain, facilitator_server
from tests.fakes.processes import ROOT, coordinator_process, program
from tests.fakes.signed_payments import EvmSeeker, SolanaSeeker, v2_headers
from tests.transport.harness import TASK
from tests.transport.payments.till import PAY_TO, both_chains, required

pytestmark = pytest.mark.acceptance

HEAVY: Final = ("x402", "web3", "eth_account", "solana", "solders", "coincurve", "pydantic")

WATCHED: Final = f"""
import builtins, os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import run_coordinator
say = builtins.print
def heard(text, **options):
    if "listening" in text:
        os.kill(os.getpid(), signal.SIGTERM)
run_coordinator.print = heard
code = run_coordinator.main(["--chain", "monad", "--port", "0"])
say("ended", code, sorted(set({HEAVY!r}) & set(sys.modules)))
"""


NODE: Final = "/secret-of-the-node"


def flags(chain: Chain, facilitator: str) -> list[str]:
    money = ["--payments", "on", "--pay-to", PAY_TO[chain], "--facilitator", facilitator]
    return ["--chain", chain.value, *money, "--rpc-url", f"{facilitator}{NODE}"]


@asynccontextmanager
async def playing(chain: Chain) -> AsyncIterator[FacilitatorServer]:
    """A facilitator beside a node that is in trouble."""
    async with facilitator_server(PlayChain(chain)) as facilitator:
        facilitator.faults[NODE] = (503, b"")
        yield facilitator


async def test_with_payments_off_nothing_of_the_chains_is_even_imported(tmp_path: Path) -> None:
    async with program(["-c", WATCHED], tmp_path) as process:
        assert await process.ended() == 0
    assert process.stdout == "ended 0 []"


async def test_without_payments_it_says_so(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        await router.process.line("payments off: every job is free")


@both_chains
async def test_with_payments_it_says_where_money_goes_and_asks_for_it(tmp_path: Path, chain: Chain) -> None:
    async with (
        playing(chain) as facilitator,
        coordinator_process(tmp_path, *flags(chain, facilitator.url)) as router,
    ):
        said = await router.process.line("payments on")
        assert f"USDC goes to {PAY_TO[chain]}, settled by {facilitator.url}; 5 % of each price" in said
        answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK)
        assert required(answer)["accepts"][0]["payTo"] == PAY_TO[chain]
        assert (await router.http.get("/.well-known/x402")).status_code == 200
        assert await router.process.stop() == 0
        assert "Traceback" not in router.process.stderr


@both_chains
async def test_the_key_of_its_node_and_payments_are_in_no_log(tmp_path: Path, chain: Chain) -> None:
    play = PlayChain(chain)
    seeker = EvmSeeker() if chain is Chain.MONAD else SolanaSeeker()
    play.has[seeker.address.lower()] = 1_000_000
    async with facilitator_server(play) as facilitator:
        facilitator.faults[NODE] = (200, b"{}")
        loud = [*flags(chain, facilitator.url), "--log-level", "debug"]
        async with coordinator_process(tmp_path, *loud) as router:
            (wanted,) = required(await router.http.post("/v1/jobs/commit/cheap", json=TASK))["accepts"]
            inner = seeker.sign(wanted)
            answer = await router.http.post(
                "/v1/jobs/commit/cheap", json=TASK, headers=v2_headers(wanted, inner)
            )
            assert answer.status_code == 201
            assert facilitator.count(NODE) >= 1
            assert await router.process.stop() == 0
            said = router.process.stdout + router.process.stderr
    assert NODE not in said
    for secret in (inner.get("signature"), inner.get("transaction")):
        assert secret is None or secret not in said


@both_chains
async def test_what_payments_import_does_not_make_deep_json_deadly(tmp_path: Path, chain: Chain) -> None:
    deep = b"[" * 200_000
    async with (
        facilitator_server(PlayChain(chain)) as facilitator,
        coordinator_process(tmp_path, *flags(chain, facilitator.url)) as router,
    ):
        facilitator.faults["/verify"] = (200, deep)
        facilitator.faults[NODE] = (200, deep)
        (wanted,) = required(await router.http.post("/v1/jobs/commit/cheap", json=TASK))["accepts"]
        seeker = EvmSeeker() if chain is Chain.MONAD else SolanaSeeker()
        headers = v2_headers(wanted, seeker.sign(wanted))
        answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK, headers=headers)
        assert answer.status_code == 503
        assert (await router.http.post("/v1/jobs/commit/cheap", content=deep)).status_code == 400
        assert (await router.http.get("/v1/health")).status_code == 200


@both_chains
async def test_it_starts_without_its_facilitator_says_so_and_recovers(tmp_path: Path, chain: Chain) -> None:
    async with playing(chain) as facilitator:
        await facilitator.stop()
        async with coordinator_process(tmp_path, *flags(chain, facilitator.url)) as router:
            health = (await router.http.get("/v1/health")).json()
            while health["status"] == "ok":
                health = (await router.http.get("/v1/health")).json()
            assert health["problems"][0].startswith("facilitator: ")
            await router.process.line("paid jobs are refused for now: The facilitator")
            answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK)
            assert (answer.status_code, answer.json()["error"]) == (503, "payments_unavailable")
            assert (await router.http.get("/v1/quote?job_type=TASK")).status_code == 200
            await facilitator.start()
            while (await router.http.get("/v1/health")).json()["status"] != "ok":
                pass
            assert (await router.http.post("/v1/jobs/commit/cheap", json=TASK)).status_code == 402
            await router.process.line("the facilitator is well again")


def test_the_list_of_heavy_packages_is_that_of_packages_that_exist() -> None:
    assert all(importlib.util.find_spec(name) for name in HEAVY)


@both_chains
async def test_health_says_that_the_facilitator_is_down_as_soon_as_a_payment_could_not_be_checked(
    tmp_path: Path, chain: Chain
) -> None:
    async with (
        playing(chain) as facilitator,
        coordinator_process(tmp_path, *flags(chain, facilitator.url)) as router,
    ):
        answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK)
        (wanted,) = required(answer)["accepts"]
        seeker = EvmSeeker() if chain is Chain.MONAD else SolanaSeeker()
        await facilitator.stop()
        headers = v2_headers(wanted, seeker.sign(wanted))
        assert (
            await router.http.post("/v1/jobs/commit/cheap", json=TASK, headers=headers)
        ).status_code == 503
        # The next look of its own would be half a minute away.
        await router.process.line("paid jobs are refused for now: The facilitator")
        health = (await router.http.get("/v1/health")).json()
        assert (health["status"], health["payments"]["facilitator_ok"]) == ("degraded", False)
        await facilitator.start()
        await router.process.line("the facilitator is well again")
