"""Questions to the facilitator and the chain: a few at a time, each answered once, whatever the ports do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import FacilitatorProbed, OutcomeRead, SettleAnswered
from compute_router.actors.payment_executor import PaymentExecutor
from compute_router.actors.payment_lines import BEGUN_IN_A_TURN
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.errors import UnavailableError
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Payment, Refused, Settled, StillOpen, Unknown, Verified
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from tests.fakes.paying import a_payment


def payment(name: str, expires_at: int = 0) -> Payment:
    new = a_payment(name, "alice", UnixMs(expires_at))
    given = {field: getattr(new, field) for field in new.__struct_fields__}
    return Payment(job_id=name, state=PaymentState.SETTLING, **given)


class Ports:
    """A facilitator and a chain that answer when the test lets them."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.has: int | Exception = 7
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self.cancelled = 0

    async def _answer(self, name: str) -> Any:
        self.begun.append(name)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def verify(self, payload: bytes, requirements: bytes) -> Verified | Refused:
        raise NotImplementedError

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        answer: Settled | Refused | Unknown = await self._answer(payment.job_id)
        return answer

    async def healthy(self) -> str | None:
        answer: str | None = await self._answer("health")
        return answer

    async def outcome(self, payment: Payment) -> Any:
        return await self._answer(payment.job_id)

    async def balance(self, payer: str) -> MicroUsd:
        self.begun.append(f"balance of {payer}")
        if isinstance(self.has, Exception):
            raise self.has
        return MicroUsd(self.has)


class Scene:
    """An executor and all that it told."""

    def __init__(self, answer: Any = None, **policy: Any) -> None:
        self.ports = Ports(answer)
        self.told: asyncio.Queue[Message] = asyncio.Queue()
        self.executor = PaymentExecutor(self.ports, self.ports, PaymentPolicy(**policy), self.told.put_nowait)

    async def next(self) -> Message:
        async with asyncio.timeout(10):
            return await self.told.get()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scene()

    asyncio.run(run())


async def breathe() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_settlement_is_answered_with_what_the_facilitator_said() -> None:
    async def scene() -> None:
        it = Scene(Settled("tx"))
        it.ports.go.set()
        it.executor.settle(payment("job"))
        assert await it.next() == SettleAnswered("pay-job", Settled("tx"))

    play(scene)


@pytest.mark.parametrize("no", [Refused("insufficient_funds"), Unknown("failed", "failed")], ids=repr)
def test_with_a_no_it_tells_what_the_payer_has_at_that_moment(no: Refused | Unknown) -> None:
    async def scene() -> None:
        it = Scene(no)
        it.ports.go.set()
        it.executor.settle(payment("job"))
        assert await it.next() == SettleAnswered("pay-job", no, MicroUsd(7))
        assert it.ports.begun == ["job", "balance of alice"]

    play(scene)


def test_a_balance_that_cannot_be_read_is_told_as_none(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        it = Scene(Refused("insufficient_funds"))
        it.ports.has = UnavailableError("The node is down.")
        it.ports.go.set()
        it.executor.settle(payment("job"))
        assert await it.next() == SettleAnswered("pay-job", Refused("insufficient_funds"), None)

    play(scene)


@pytest.mark.parametrize(
    "answer",
    [Settled("tx"), Unknown("silence"), Unknown("settlement_pending", "settlement_pending")],
    ids=repr,
)
def test_where_nothing_was_refused_no_balance_is_read(answer: Settled | Unknown) -> None:
    async def scene() -> None:
        it = Scene(answer)
        it.ports.go.set()
        it.executor.settle(payment("job"))
        await it.next()
        assert it.ports.begun == ["job"]

    play(scene)


def test_only_so_many_settlements_are_under_way_and_the_first_to_expire_go_first() -> None:
    async def scene() -> None:
        it = Scene(Settled("tx"), settlements_at_once=2)
        for name, expires_at in (("a", 9), ("b", 8), ("c", 7), ("d", 6)):
            it.executor.settle(payment(name, expires_at))
        await breathe()
        assert it.ports.begun == ["d", "c"]
        it.ports.go.set()
        for _ in range(4):
            await it.next()
        assert it.ports.begun == ["d", "c", "b", "a"]

    play(scene)


def test_a_few_questions_are_begun_in_each_turn_of_the_loop_however_many_wait() -> None:
    async def scene() -> None:
        it = Scene(Settled("tx"), settlements_at_once=100)
        for number in range(100):
            it.executor.settle(payment(f"job-{number}"))
        begun = []
        for _ in range(10):
            await asyncio.sleep(0)
            begun.append(len(it.ports.begun))
        assert max(later - earlier for earlier, later in pairwise(begun)) == BEGUN_IN_A_TURN
        it.ports.go.set()
        for _ in range(100):
            await it.next()

    play(scene)


def test_the_line_goes_on_after_it_was_empty() -> None:
    async def scene() -> None:
        it = Scene(StillOpen(), reads_at_once=1)
        it.ports.go.set()
        for name in ("a", "b", "c"):
            it.executor.read(payment(name))
            assert await it.next() == OutcomeRead(f"pay-{name}", StillOpen())
            await breathe()

    play(scene)


def test_silence_is_unknown_and_the_question_is_given_up() -> None:
    async def scene() -> None:
        it = Scene(Settled("too late"), settle_timeout=DurationMs(1), read_timeout=DurationMs(1))
        it.executor.settle(payment("job"))
        it.executor.read(payment("other"))
        it.executor.probe()
        answers = [await it.next() for _ in range(3)]
        assert all("in time" in repr(answer) for answer in answers)
        assert {type(answer) for answer in answers} == {SettleAnswered, OutcomeRead, FacilitatorProbed}
        assert it.ports.cancelled == 3

    play(scene)


def test_a_port_that_breaks_makes_it_unknown_and_its_words_are_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        it = Scene(ValueError("with the whole authorization"))
        it.ports.go.set()
        it.executor.settle(payment("job"))
        answer = await it.next()
        assert isinstance(answer, SettleAnswered)
        assert isinstance(answer.answer, Unknown)
        assert "authorization" not in repr(answer)

    play(scene)
    assert "ValueError" in caplog.text
    assert "authorization" not in caplog.text


def test_a_chain_that_cannot_be_read_is_unknown_for_a_reason_that_an_operator_can_use(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        it = Scene(UnavailableError("The node is one of chain 1."))
        it.ports.go.set()
        it.executor.read(payment("job"))
        assert await it.next() == OutcomeRead("pay-job", Unknown("The node is one of chain 1."))

    play(scene)
    assert "The node is one of chain 1." in caplog.text


@pytest.mark.parametrize("nonsense", [None, "yes", Settled(""), Verified("alice"), StillOpen()])
def test_what_is_no_answer_to_a_settlement_is_unknown(nonsense: object) -> None:
    async def scene() -> None:
        it = Scene(nonsense)
        it.ports.go.set()
        it.executor.settle(payment("job"))
        answer = await it.next()
        assert isinstance(answer, SettleAnswered)
        assert isinstance(answer.answer, Unknown)

    play(scene)


@pytest.mark.parametrize("nonsense", [None, True, Refused("no")])
def test_what_is_no_answer_of_a_chain_is_unknown(nonsense: object) -> None:
    async def scene() -> None:
        it = Scene(nonsense)
        it.ports.go.set()
        it.executor.read(payment("job"))
        answer = await it.next()
        assert isinstance(answer, OutcomeRead)
        assert isinstance(answer.outcome, Unknown)

    play(scene)


@pytest.mark.parametrize("problem", [None, "it is ill"])
def test_a_probe_says_how_the_facilitator_is(problem: str | None) -> None:
    async def scene() -> None:
        it = Scene(problem)
        it.ports.go.set()
        it.executor.probe()
        assert await it.next() == FacilitatorProbed(problem)

    play(scene)


def test_after_the_close_nothing_is_asked_or_told() -> None:
    async def scene() -> None:
        it = Scene(Settled("tx"), settlements_at_once=1)
        it.executor.settle(payment("a"))
        it.executor.settle(payment("b"))
        it.executor.read(payment("c"))
        it.executor.probe()
        await breathe()
        it.executor.close()
        it.ports.go.set()
        await breathe()
        assert it.told.empty()
        assert sorted(it.ports.begun) == ["a", "c", "health"]

    play(scene)


def test_a_question_that_names_its_transaction_does_not_wait_behind_those_that_do_not() -> None:
    async def scene() -> None:
        it = Scene(StillOpen(), reads_at_once=4)
        for number in range(20):
            it.executor.read(payment(f"unnamed-{number}"))
        await breathe()
        assert len(it.ports.begun) == 1, "one payer has a quarter of the places"
        it.executor.read(msgspec.structs.replace(payment("named"), transaction_ref="tx"))
        await breathe()
        assert it.ports.begun[-1] == "named"
        it.executor.close()

    play(scene)
