"""How long a settlement is waited for: each gives up before the one who waits for him does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compute_router.actors.clock import SystemClock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import SettleAnswered
from compute_router.actors.payment_executor import PaymentExecutor
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.errors import PaymentsUnavailableError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PAYMENT_NETWORKS, Payment, Unknown
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.transport.facilitator.settings import read_settings
from compute_router.transport.payments import local_facilitator, opening
from compute_router.transport.payments.opening import PaymentSettings, open_payments
from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator
from tests.fakes.facilitator_server import PlayChain
from tests.fakes.paying import a_payment
from tests.transport.payments.till import PAY_TO

PROMPT = PaymentPolicy(settle_timeout=DurationMs(800))


@pytest.mark.parametrize("settle_timeout", [800, 5_000, PaymentPolicy().settle_timeout])
def test_a_block_is_waited_for_less_long_than_the_answer_and_that_less_than_all_of_it(
    settle_timeout: int,
) -> None:
    policy = PaymentPolicy(settle_timeout=DurationMs(settle_timeout))
    assert 0 < policy.confirm_timeout < policy.answer_timeout < policy.settle_timeout


def test_so_it_is_with_what_is_set_where_nothing_is_said(tmp_path: Path) -> None:
    alone = read_settings(["--chain", "monad", "--key", str(tmp_path / "key")], {})
    assert alone.confirm == PaymentPolicy().confirm_timeout
    assert alone.confirm < Patience().settle * 1000 < PaymentPolicy().settle_timeout


def test_the_longest_wait_for_a_block_ends_long_before_a_payment_is_looked_up_for_the_last_time() -> None:
    policy = PaymentPolicy()
    begun_in_time = PAYMENT_NETWORKS[Chain.SOLANA].authorization_lives - policy.early
    # On Solana a payment is void two minutes after its end; what was sent has landed by then, or never will.
    assert (
        begun_in_time + policy.settle_timeout < PAYMENT_NETWORKS[Chain.SOLANA].authorization_lives + 120_000
    )


async def test_a_facilitator_of_our_own_is_told_how_long_and_we_wait_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    waits: list[Patience] = []

    async def start(*command: str, **_: Any) -> Any:
        started.extend(command)
        raise OSError("enough was seen")

    async def no_start(self: object) -> None:
        with suppress(OSError):
            await launch(self)  # type: ignore[arg-type]

    def remote(url: str, chain: Chain, now: Any, patience: Patience, **options: Any) -> RemoteFacilitator:
        waits.append(patience)
        return RemoteFacilitator(url, chain, now, patience, **options)

    launch = local_facilitator.LocalFacilitator._launch
    monkeypatch.setattr(local_facilitator.LocalFacilitator, "start", no_start)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(opening, "RemoteFacilitator", remote)
    hurried = partial(PaymentPolicy, settle_timeout=DurationMs(4_000))
    monkeypatch.setattr(opening, "PaymentPolicy", hurried)
    async with open_payments(settings(tmp_path, facilitator=None)) as opened:
        policy = opened.payments.policy
    (patience,) = waits
    assert "--confirm-seconds=3" in started
    assert 3 < patience.settle < policy.settle_timeout / 1000 == 4


@pytest.mark.parametrize("facilitator", [None, "http://127.0.0.1:9"])
async def test_only_a_facilitator_of_our_own_is_believed_about_payers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facilitator: str | None
) -> None:
    async def no_start(self: object) -> None:
        pass

    monkeypatch.setattr(local_facilitator.LocalFacilitator, "start", no_start)
    async with open_payments(settings(tmp_path, facilitator)) as opened:
        assert opened.payments.policy.facilitator_is_own is (facilitator is None)


def settings(directory: Path, facilitator: str | None) -> PaymentSettings:
    return PaymentSettings(
        chain=Chain.MONAD,
        pay_to=PAY_TO[Chain.MONAD],
        facilitator=facilitator,
        facilitator_key=directory / "key",
        rpc_url="http://127.0.0.1:9",
        fee_bps=500,
        max_unsettled=MicroUsd(1),
        max_losses=MicroUsd(1),
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(PROMPT.answer_timeout / 1000, "no answer within 0.7 s"), (60, "There was no answer in time.")],
    ids=["as it is set", "one that waits too long"],
)
async def test_a_facilitator_that_hangs_in_settlements_is_left_alone_and_no_commit_is_taken(
    seconds: float, said: str
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    patience = Patience(settle=seconds)
    remote = RemoteFacilitator(url, Chain.MONAD, SystemClock().steady_ms, patience)
    told: asyncio.Queue[Message] = asyncio.Queue()
    executor = PaymentExecutor(remote, PlayChain(Chain.MONAD), PROMPT, told.put_nowait)
    try:
        remote.check_available()
        for number in range(3):
            executor.settle(a_settling_payment(f"job-{number}"))
        for _ in range(3):
            heard = await told.get()
            assert isinstance(heard, SettleAnswered)
            assert heard.answer == Unknown(said)
        with pytest.raises(PaymentsUnavailableError):
            remote.check_available()
    finally:
        executor.close()
        await remote.close()
        server.close()
        await server.wait_closed()


def a_settling_payment(job_id: str) -> Payment:
    new = a_payment(job_id, "alice", UnixMs(10**13), payload=b"{}")
    given = {field: getattr(new, field) for field in new.__struct_fields__}
    return Payment(job_id=job_id, state=PaymentState.SETTLING, **given)
