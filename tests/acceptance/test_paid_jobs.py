"""Paid jobs between real programs: a coordinator with a facilitator of its own, a worker, a wallet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import fee_of
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import CREDIT_NETWORK
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import AsyncComputeRouter, JobFailedError, LlmJob, Wallet
from compute_router.storage.check import problems
from compute_router.storage.reading import open_for_reading
from tests.fakes.ollama_server import AnswerStream, OllamaServer, UntilLeft
from tests.fakes.processes import (
    PATIENCE_SECONDS,
    ROOT,
    CoordinatorProcess,
    coordinator_process,
    worker_process,
)
from tests.transport.payments.till import both_chains

pytestmark = pytest.mark.acceptance

MONEY: Final = MicroUsd(50_000)
TASK_PRICE: Final = MicroUsd(1_000)
LLM_PRICE: Final = MicroUsd(10_000)
FEE_BPS: Final = 500
REVIEW: Final = "I love this phone. It is wonderful!"

IMPATIENT: Final = f"""
import sys
from functools import partial
sys.path.insert(0, {str(ROOT)!r})
import run_coordinator
from compute_router.transport.payments import opening
# Every authorization expires within this time, so each is settled as soon as it is reserved.
opening.PaymentPolicy = partial(opening.PaymentPolicy, early=10_000_000)
sys.exit(run_coordinator.main())
"""


class Town:
    """A chain of this machine, a seeker with a wallet file, and an operator."""

    def __init__(self, chain: Chain, local: Any, directory: Path) -> None:
        self.chain = chain
        self.local = local
        self.directory = directory
        self.ollama = OllamaServer()
        self.wallet, self.seeker = self._account("seeker")
        self.gas, self._facilitator = self._account("gas")
        _, self.operator = self._account("operator")
        local.fund(self.seeker, MONEY)
        local.fund(self.operator, MicroUsd(0))
        local.fund_gas(self._facilitator)

    def _account(self, name: str) -> tuple[Path, str]:
        key = self.local.new_key()
        path = self.directory / f"{name}.key"
        evm = self.chain is Chain.MONAD
        path.write_text(key.key.hex() if evm else json.dumps(list(bytes(key))))
        path.chmod(0o600)
        return path, key.address if evm else str(key.pubkey())

    @property
    def paid(self) -> MicroUsd:
        """What the seeker no longer has and the operator has, which must be the same."""
        gone = MONEY - self.local.balance(self.seeker)
        assert gone == self.local.balance(self.operator)
        return MicroUsd(gone)

    @asynccontextmanager
    async def open(self, code: str | None = None) -> AsyncIterator[AsyncComputeRouter]:
        """A coordinator, a worker and the seeker's client, until all have ended in good order."""
        flags = ["--chain", self.chain.value, "--payments", "on", "--pay-to", self.operator]
        flags += ["--facilitator", "local", "--facilitator-key", str(self.gas)]
        flags += ["--rpc-url", self.local.rpc_url, "--audit-share", "0"]
        async with (
            coordinator_process(self.directory, *flags, code=code) as coordinator,
            worker_process(coordinator.url, self.directory, "--ollama", self.ollama.url) as worker,
            self._client(coordinator) as router,
        ):
            yield router
            assert await worker.stop() == 0
            assert await coordinator.process.stop() == 0
            assert "ERROR" not in coordinator.process.stderr
            assert "Traceback" not in coordinator.process.stderr

    def _client(self, coordinator: CoordinatorProcess) -> AsyncComputeRouter:
        wallet = Wallet.from_file(self.wallet, chain=self.chain, rpc_url=self.local.rpc_url)
        trust_file = self.directory / "seeker" / "trust.json"
        return AsyncComputeRouter(coordinator.url, chain=self.chain, trust_file=trust_file, wallet=wallet)

    @property
    def books_are_right(self) -> bool:
        """Whether the database has no contradictions; the sum of its ledger is one of the things checked."""
        with closing(open_for_reading(self.directory / f"{self.chain.value}.db")) as connection:
            return not list(problems(connection, lambda done, of: None))


@pytest.fixture
def town(chain: Chain, tmp_path: Path) -> Iterator[Town]:
    # Imported late: each takes half a second.
    if chain is Chain.MONAD:
        from tools.local_chains.evm import LocalEvm as LocalChain
    else:
        from tools.local_chains.solana import LocalSolana as LocalChain  # type: ignore[assignment]

    with LocalChain() as local:
        there = Town(chain, local, tmp_path)
        with there.ollama:
            yield there


def out_of_memory(stream: AnswerStream) -> None:
    stream.status(500, "out of memory")


@both_chains
async def test_a_finished_job_is_settled_and_a_failed_one_is_not_charged(town: Town) -> None:
    town.ollama.script = out_of_memory
    async with town.open() as router:
        done = await router.run_task("classify", REVIEW)
        assert done.verified
        assert done.payment is not None
        assert (done.payment.state, done.payment.amount) == (PaymentState.SETTLED, TASK_PRICE)
        assert done.payment.transaction_ref is not None
        assert town.paid == TASK_PRICE

        with pytest.raises(JobFailedError) as failed:
            await router.run_llm("Why is the sky blue?")
        assert failed.value.payment is not None
        assert (failed.value.payment.state, failed.value.payment.amount) == (PaymentState.VOID, LLM_PRICE)
        assert await router.credits() == []
        assert town.paid == TASK_PRICE

        assert done.worker_pubkey is not None
        owed = await router.earnings(done.worker_pubkey)
        assert owed.earned == owed.pending == TASK_PRICE - fee_of(TASK_PRICE, FEE_BPS)
    assert town.books_are_right


@both_chains
async def test_money_that_came_early_for_a_job_that_never_ended_pays_for_the_next(town: Town) -> None:
    slow = UntilLeft()
    town.ollama.script = slow
    async with town.open(IMPATIENT) as router:
        job_id = await router.submit(LlmJob("Tell me a very long story."))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (
                payment := (await router.job(job_id)).payment
            ) and payment.state is not PaymentState.SETTLED:
                pass
        assert payment is not None
        assert town.paid == LLM_PRICE

        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.to_thread(slow.reached.wait)
        assert (await router.cancel(job_id)).status is JobStatus.CANCELLED
        done = await router.run_task("classify", REVIEW)
        assert done.payment is not None
        assert (done.payment.network, done.payment.amount) == (CREDIT_NETWORK, TASK_PRICE)
        assert await router.credits() == [LLM_PRICE - TASK_PRICE]
        assert town.paid == LLM_PRICE
        assert done.worker_pubkey is not None
        owed = await router.earnings(done.worker_pubkey)
        assert owed.earned == TASK_PRICE - fee_of(TASK_PRICE, FEE_BPS)
    assert town.books_are_right
