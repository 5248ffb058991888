"""Questions about payments wait in lines in which payers take turns."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from compute_router.actors.payment_lines import PaymentLine
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import Payment
from compute_router.protocol.units import UnixMs
from tests.fakes.paying import a_payment


def payment(payer: str, number: int = 0, expires_at: int = 0) -> Payment:
    name = f"{payer}-{number}"
    new = a_payment(name, payer, UnixMs(expires_at))
    given = {field: getattr(new, field) for field in new.__struct_fields__}
    return Payment(job_id=name, state=PaymentState.SETTLING, **given)


class Scene:
    """A line, and questions that end when the test lets them."""

    def __init__(self, at_once: int, each: int) -> None:
        self.begun: list[str] = []
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._ends: dict[str, asyncio.Event] = {}
        self.line = PaymentLine(at_once, each, self._ask)

    async def _ask(self, payment: Payment) -> None:
        self.begun.append(payment.job_id)
        self.under_way[payment.payer] += 1
        self.most[payment.payer] = max(self.most[payment.payer], self.under_way[payment.payer])
        self.most["all"] = max(self.most["all"], sum(self.under_way.values()))
        end = self._ends[payment.job_id] = asyncio.Event()
        await end.wait()
        self.under_way[payment.payer] -= 1

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await breathe()

    async def end_all(self) -> None:
        while any(not end.is_set() for end in self._ends.values()):
            await self.end(*[name for name, end in self._ends.items() if not end.is_set()])


async def breathe() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scene()

    asyncio.run(run())


def test_whoever_comes_with_one_question_waits_for_no_more_than_a_turn_of_the_one_with_many() -> None:
    async def scene() -> None:
        it = Scene(at_once=2, each=2)
        for number in range(40):
            it.line.put(payment("greedy", number, expires_at=1))
        await breathe()
        it.line.put(payment("honest", expires_at=1_000_000))
        await it.end(it.begun[0])
        assert it.begun[2] == "honest-0"
        await it.end_all()

    play(scene)


def test_one_payer_never_has_all_places() -> None:
    async def scene() -> None:
        it = Scene(at_once=4, each=3)
        for number in range(10):
            it.line.put(payment("greedy", number))
        await breathe()
        assert it.under_way == {"greedy": 3}
        it.line.put(payment("honest"))
        await breathe()
        assert it.begun[-1] == "honest-0"
        await it.end_all()
        assert len(it.begun) == 11

    play(scene)


def test_in_a_round_and_of_one_payer_the_first_to_expire_goes_first() -> None:
    async def scene() -> None:
        it = Scene(at_once=1, each=1)
        for payer, number, expires_at in (("a", 0, 9), ("b", 0, 7), ("c", 0, 8), ("b", 1, 1), ("a", 1, 2)):
            it.line.put(payment(payer, number, expires_at))
        await breathe()
        await it.end_all()
        # Each payer's first question has his place in the round, and his most urgent one takes it.
        assert it.begun == ["b-1", "c-0", "a-1", "b-0", "a-0"]

    play(scene)


def test_every_question_is_asked_once_whatever_comes_when() -> None:
    async def scene() -> None:
        chosen = random.Random(7)
        for _ in range(30):
            at_once = chosen.randint(1, 6)
            it = Scene(at_once, each := chosen.randint(1, at_once))
            names = []
            for number in range(60):
                one = payment(chosen.choice("abcde"), number, chosen.randint(0, 99))
                names.append(one.job_id)
                it.line.put(one)
                if chosen.random() < 0.3:
                    await breathe()
                if chosen.random() < 0.3:
                    await it.end_all()
            await breathe()
            await it.end_all()
            assert sorted(it.begun) == sorted(names)
            assert it.most.pop("all") <= at_once
            assert max(it.most.values()) <= each

    play(scene)


def test_after_the_close_nothing_is_begun() -> None:
    async def scene() -> None:
        it = Scene(at_once=1, each=1)
        for payer in ("a", "b"):
            it.line.put(payment(payer))
        await breathe()
        it.line.close()
        await breathe()
        assert len(it.begun) == 1

    play(scene)
