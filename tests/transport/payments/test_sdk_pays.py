"""The SDK and the coordinator agree about payments: a wallet pays the real coordinator, on a play chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.sdk import (
    AsyncComputeRouter,
    JobFailedError,
    JobPayment,
    PaymentRefusedError,
    PaymentRequiredError,
    SpendingCapError,
    SpendingCaps,
    TaskJob,
    Wallet,
)
from tests.fakes.signed_payments import EvmSeeker
from tests.transport.payments.till import DOLLAR, PRICE, Paid, both_chains, paid
from tests.transport.worker_client import worker

JOB = TaskJob("summarize", "a long text")


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A node of Solana, which wallets ask for a blockhash."""
    from tools.local_chains.solana import LocalSolana

    with LocalSolana() as chain:
        yield chain.rpc_url


def settled(till: Paid, chain: Chain) -> JobPayment | None:
    """How the payment of the only job stands once the money has moved."""
    for reference in till.play.used.values():
        return JobPayment(PaymentState.SETTLED, MicroUsd(PRICE), NETWORKS[chain].caip2, reference)
    return None


@asynccontextmanager
async def client(till: Paid, directory: Path, node: str, **options: Any) -> AsyncIterator[AsyncComputeRouter]:
    """A client with the seeker's wallet."""
    seeker = till.seeker
    if isinstance(seeker, EvmSeeker):
        wallet = Wallet(Chain.MONAD, bytes(seeker.account.key))
    else:
        wallet = Wallet(Chain.SOLANA, bytes(seeker.keypair), node)
    async with AsyncComputeRouter(
        f"http://127.0.0.1:{till.router.port}",
        user_id="alice",
        trust_file=directory / "trust.json",
        **({"wallet": wallet} | options),
    ) as router:
        yield router


@both_chains
async def test_a_wallet_pays_for_a_job_that_is_done(tmp_path: Path, chain: Chain, node: str) -> None:
    async with (
        paid(tmp_path, chain) as till,
        worker(till.router.port) as serving,
        client(till, tmp_path, node) as router,
    ):
        await serving.register(proven=True)
        job_id = await router.submit(JOB)
        assert till.left == DOLLAR
        await serving.serve(job_id)
        result = await router.result(job_id)
        assert result.payment is not None
        assert (result.payment.state, result.payment.amount) == (PaymentState.SETTLED, PRICE)
        assert result.payment.transaction_ref == next(iter(till.play.used.values()))
        assert (till.left, router.spent) == (DOLLAR - PRICE, PRICE)


@both_chains
async def test_the_same_commit_again_is_the_same_job_and_one_charge(
    tmp_path: Path, chain: Chain, node: str
) -> None:
    async with paid(tmp_path, chain) as till, client(till, tmp_path, node) as router:
        first = await router.submit(JOB, idempotency_key="order-7")
        assert await router.submit(JOB, idempotency_key="order-7") == first
        async with client(till, tmp_path, node) as another:
            assert await another.submit(JOB, idempotency_key="order-7") == first
            assert another.spent == 0
        assert (till.router.count("jobs"), till.router.count("payments"), router.spent) == (1, 1, PRICE)


@both_chains
async def test_many_jobs_at_once_have_payments_of_their_own(tmp_path: Path, chain: Chain, node: str) -> None:
    async with paid(tmp_path, chain) as till, client(till, tmp_path, node) as router:
        jobs = await asyncio.gather(*(router.submit(JOB) for _ in range(8)))
        assert len(set(jobs)) == till.router.count("payments") == 8
        assert router.spent == 8 * PRICE


@both_chains
async def test_a_wallet_without_money_is_told_so(tmp_path: Path, chain: Chain, node: str) -> None:
    async with paid(tmp_path, chain, funds=PRICE - 1) as till, client(till, tmp_path, node) as router:
        with pytest.raises(PaymentRefusedError) as caught:
            await router.submit(JOB)
        assert caught.value.reason == "insufficient_funds"
        assert till.router.count("jobs") == 0


@both_chains
async def test_a_cancelled_job_costs_nothing(tmp_path: Path, chain: Chain, node: str) -> None:
    async with paid(tmp_path, chain) as till, client(till, tmp_path, node) as router:
        cancelled = await router.cancel(await router.submit(JOB))
        assert cancelled.payment is not None
        assert till.left == DOLLAR
        with pytest.raises(JobFailedError):
            await router.result(cancelled.job_id)
        assert await router.credits() == []


async def test_without_a_wallet_or_with_a_small_cap_nothing_is_stored(tmp_path: Path, node: str) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        async with client(till, tmp_path, node, wallet="") as router:
            with pytest.raises(PaymentRequiredError):
                await router.submit(JOB)
        async with client(till, tmp_path, node, spending=SpendingCaps(per_job=PRICE - 1)) as router:
            with pytest.raises(SpendingCapError):
                await router.submit(JOB)
        assert till.router.count("jobs") == 0


@both_chains
async def test_money_that_came_for_a_cancelled_job_pays_for_the_next(
    tmp_path: Path, chain: Chain, node: str
) -> None:
    at_once = PaymentPolicy(
        early=DurationMs(10**10), retry_backoff=DurationMs(20), settle_timeout=DurationMs(500)
    )
    async with paid(tmp_path, chain, policy=at_once) as till, client(till, tmp_path, node) as router:
        job_id = await router.submit(JOB)
        while (await router.job(job_id)).payment != settled(till, chain):
            pass
        await router.cancel(job_id)
        assert await router.credits() == [PRICE]
        await router.submit(JOB)
        assert (await router.credits(), router.spent, till.left) == ([], PRICE, DOLLAR - PRICE)
