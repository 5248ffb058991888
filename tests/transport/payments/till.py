"""A paid coordinator with a facilitator over HTTP, on a chain that is a dictionary."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.actors.clock import Clock, SystemClock
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.system import Payments, System
from compute_router.protocol.chain_addresses import evm_checksum
from compute_router.protocol.networks import NETWORKS, Chain, Network
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.transport.payments.blockhash_ages import KnowsAge
from compute_router.transport.payments.checkout import Checkout
from compute_router.transport.payments.opening import PaymentSettings, make_checkout
from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator
from tests.fakes.facilitator_server import FacilitatorServer, PlayChain, facilitator_server
from tests.fakes.signed_payments import EvmSeeker, Seeker, SolanaSeeker, v1_headers, v2_headers
from tests.transport.harness import TASK, Coordinator, coordinator
from tests.transport.worker_client import WorkerClient

PRICE: Final = 1000
DOLLAR: Final = 1_000_000
PAY_TO: Final = {
    Chain.MONAD: evm_checksum("0x" + "ab" * 20),
    Chain.SOLANA: "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM",
}
HURRIED: Final = PaymentPolicy(
    retry_backoff=DurationMs(20), max_backoff=DurationMs(100), settle_timeout=DurationMs(500)
)
IMPATIENT: Final = Patience(verify=0.5, settle=0.5, supported=0.5, tries=2, pause=0.01)

both_chains = pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)


@dataclass(frozen=True)
class PlayTill:
    """What makes a coordinator one that is paid; see the harness."""

    chain: Chain
    remote: RemoteFacilitator
    play: PlayChain
    policy: PaymentPolicy
    key: SigningKey = field(default_factory=lambda: SigningKey(b"k" * 32))
    ages: KnowsAge | None = None

    @property
    def network(self) -> Network:
        return NETWORKS[self.chain]

    @property
    def payments(self) -> Payments:
        return Payments(facilitator=self.remote, chain=self.play, policy=self.policy)

    def checkout(self, system: System) -> Checkout:
        settings = PaymentSettings(
            chain=self.chain,
            pay_to=PAY_TO[self.chain],
            facilitator=self.remote.url,
            facilitator_key=None,
            rpc_url="http://localhost",
            fee_bps=500,
            max_unsettled=MicroUsd(DOLLAR),
            max_losses=MicroUsd(5 * DOLLAR),
        )
        return make_checkout(settings, system, self.key, self.remote, self.ages)


@dataclass(frozen=True)
class Paid:
    """A paid coordinator, its facilitator, its chain, and a seeker with a dollar."""

    router: Coordinator
    facilitator: FacilitatorServer
    remote: RemoteFacilitator
    play: PlayChain
    seeker: Seeker

    async def post(self, headers: dict[str, str] | None = None, /, **changes: Any) -> httpx.Response:
        """Commit a task with these headers."""
        return await self.router.http.post("/v1/jobs/commit/cheap", json=TASK | changes, headers=headers)

    async def wanted(self) -> dict[str, Any]:
        """The requirement that a commit without a payment is answered with."""
        (requirement,) = required(await self.post())["accepts"]
        return dict(requirement)

    async def payment(self, **changes: Any) -> dict[str, str]:
        """The header of a good payment; ``changes`` are signed too."""
        wanted = await self.wanted()
        return v2_headers(wanted, self.seeker.sign(wanted, **changes))

    async def payment_v1(self) -> dict[str, str]:
        """The same in version 1."""
        wanted = await self.wanted()
        return v1_headers(wanted, self.seeker.sign(wanted))

    async def commit(self, headers: dict[str, str] | None = None) -> str:
        """Commit a task that is paid for, and return its id."""
        return (await self.commit_for_token(headers))[0]

    async def commit_for_token(self, headers: dict[str, str] | None = None) -> tuple[str, str]:
        """Commit a task that is paid for, and return its id and the token of its credit."""
        answer = await self.post(headers or await self.payment())
        assert answer.status_code == 201, answer.text
        return answer.json()["job_id"], answer.json()["credit_token"]

    async def serve(self, client: WorkerClient, headers: dict[str, str] | None = None) -> str:
        """Commit a paid task and have it done."""
        job_id = await self.commit(headers)
        await client.serve(job_id)
        return job_id

    @property
    def left(self) -> int:
        """What the seeker still has."""
        return self.play.has[self.seeker.address.lower()]

    def ledger(self) -> int:
        """The sum of the ledger."""
        return int(self.router.query("SELECT coalesce(sum(amount), 0) FROM ledger")[0][0])

    def states(self) -> list[str]:
        """How all payments stand."""
        return [row[0] for row in self.router.query("SELECT state FROM payments ORDER BY created_at_ms")]


def required(answer: httpx.Response) -> dict[str, Any]:
    """What a 402 asks for in version 2."""
    assert answer.status_code == 402, answer.text
    return dict(json.loads(base64.b64decode(answer.headers["payment-required"])))


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    body = answer.json()
    assert body["message"]
    if answer.status_code == 402:
        assert required(answer)["error"] == body["error"]
        assert body["accepts"], "a 402 says how to pay, always"
    return answer.status_code, body["error"]


@asynccontextmanager
async def paid(
    directory: Path,
    chain: Chain,
    *,
    funds: int = DOLLAR,
    policy: PaymentPolicy = HURRIED,
    clock: Clock | None = None,
    before: Callable[[FacilitatorServer], None] | None = None,
    ages: KnowsAge | None = None,
    **options: Any,
) -> AsyncIterator[Paid]:
    """Run a paid coordinator. At the end its ledger must be balanced."""
    play = PlayChain(chain)
    seeker: Seeker = EvmSeeker() if chain is Chain.MONAD else SolanaSeeker()
    play.has[seeker.address.lower()] = funds
    async with facilitator_server(play) as server:
        if before is not None:
            before(server)
        remote = RemoteFacilitator(server.url, chain, (clock or SystemClock()).steady_ms, IMPATIENT)
        try:
            till = PlayTill(chain, remote, play, policy, ages=ages)
            async with coordinator(directory, till=till, clock=clock, **options) as router:
                one = Paid(router, server, remote, play, seeker)
                yield one
                assert one.ledger() == 0
        finally:
            await remote.close()
