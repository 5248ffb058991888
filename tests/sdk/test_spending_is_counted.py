"""Whatever fails: what a client says that it spent, and its cap, are never less than what it sent away."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import Chain
from compute_router.sdk import (
    ComputeRouter,
    PaymentPlan,
    SpendingCapError,
    SpendingCaps,
    Wallet,
    WalletError,
    private_file,
    purse_file,
)
from compute_router.sdk.private_writing import write_privately
from compute_router.sdk.purse_file import PurseFile, SentPayment
from tests.fakes.http_coordinator import FakeCoordinator, LostAnswer, busy, refused
from tests.fakes.till import PRICE
from tests.sdk.clients import asynchronous, blocking
from tests.sdk.paying import classify, sent, shop

CAP = 3 * PRICE
THREADS = 3


def received(coordinator: FakeCoordinator) -> int:
    """What all payments together are worth that anybody could carry out now."""
    payments = {each.headers.get("payment-signature") for each in coordinator.committed} - {None}
    return PRICE * len(payments)


class Faults:
    """Lets some steps fail, in the order in which they come."""

    def __init__(self, script: list[bool]) -> None:
        self._script = iter(script)
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        with self._lock:
            return next(self._script, False)


class Stumbling(Wallet):
    """A wallet that cannot always sign."""

    faults: Faults

    def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
        if self.faults():
            raise WalletError("The node does not answer.")
        return super().sign(requirement)


@contextmanager
def bad_disk(no_write: Faults, no_read: Faults) -> Iterator[None]:
    """Reading and writing of the purse fail now and then."""
    read = private_file.PrivateFile.read

    def write_or_fail(path: Path, content: bytes) -> None:
        if no_write():
            raise OSError(28, "No space left on device")
        write_privately(path, content)

    def read_or_fail(self: Any) -> Any:
        if no_read():
            raise WalletError("The purse is damaged.")
        return read(self)

    with (
        patch.object(private_file, "write_privately", write_or_fail),
        patch.object(private_file.PrivateFile, "read", read_or_fail),
    ):
        yield


REPLIES = st.sampled_from(
    [
        None,
        None,
        None,
        None,
        LostAnswer(httpx.ReadError("reset")),
        busy(503, "100"),
        refused(500, "internal"),
        refused(402, "payment_refused"),
        httpx.ReadTimeout("slow"),
    ]
)
KEYS = st.sampled_from([None, "order-1", "order-2"])
SELDOM = st.sampled_from([False] * 9 + [True])


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.lists(st.lists(KEYS, min_size=1, max_size=THREADS), min_size=2, max_size=5),
    replies=st.lists(REPLIES, max_size=20),
    no_write=st.lists(st.booleans(), max_size=12),
    no_read=st.lists(SELDOM, max_size=60),
    no_signature=st.lists(SELDOM, max_size=12),
)
def test_no_more_is_sent_than_is_counted_and_no_more_is_counted_than_the_cap(
    rounds: list[list[str | None]],
    replies: list[Any],
    no_write: list[bool],
    no_read: list[bool],
    no_signature: list[bool],
) -> None:
    coordinator, _ = shop()
    coordinator.commit = [*replies, None]
    wallet = Stumbling(Chain.MONAD, bytes([9] * 32))
    wallet.faults = Faults(no_signature)
    caps = SpendingCaps(per_session=CAP)
    unexpected: list[BaseException] = []

    def call(router: ComputeRouter, together: threading.Barrier, key: str | None) -> None:
        together.wait(20)
        try:
            classify(router, idempotency_key=key, timeout_s=1.0)
        except ComputeRouterError:
            pass
        except BaseException as error:
            unexpected.append(error)

    with (
        tempfile.TemporaryDirectory() as directory,
        bad_disk(Faults(no_write), Faults(no_read)),
        blocking(coordinator, wallet=wallet, spending=caps, trust_file=Path(directory, "t.json")) as router,
    ):
        for keys in rounds:
            together = threading.Barrier(len(keys))
            threads = [threading.Thread(target=call, args=(router, together, key)) for key in keys]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert unexpected == []
            assert received(coordinator) <= router.spent <= CAP


@pytest.mark.parametrize("key_of", [lambda turn: "order-7", lambda turn: f"order-{turn}"])
def test_a_payment_that_cannot_be_kept_is_never_sent_later(
    evm: Wallet, purse: PurseFile, key_of: Any
) -> None:
    purse.path.with_name("purse.json.lock").mkdir(parents=True)
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=2 * PRICE)) as router:
        for turn in range(6):
            for _ in range(2):
                with pytest.raises(WalletError, match="purse"):
                    classify(router, idempotency_key=key_of(turn))
        assert router.spent == 0
    assert received(coordinator) == 0


def test_what_was_signed_when_the_program_is_interrupted_is_counted(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = PurseFile.put_payment

    def interrupted(self: PurseFile, key: str, payment: SentPayment) -> SentPayment:
        put(self, key, payment)
        raise KeyboardInterrupt

    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm, spending=SpendingCaps(per_session=PRICE)) as router:
        with monkeypatch.context() as patched:
            patched.setattr(purse_file.PurseFile, "put_payment", interrupted)
            with pytest.raises(KeyboardInterrupt):
                classify(router, idempotency_key="order-7")
        assert router.spent == PRICE
        classify(router, idempotency_key="order-7")
        assert (router.spent, received(coordinator)) == (PRICE, PRICE)
        with pytest.raises(SpendingCapError):
            classify(router)


@pytest.mark.parametrize("key", [None, "order-7"])
def test_a_task_that_is_cancelled_while_it_signs_is_counted(key: str | None) -> None:
    signing, go_on = threading.Event(), threading.Event()

    class Slow(Wallet):
        def sign(self, requirement: dict[str, Any]) -> dict[str, Any]:
            signing.set()
            assert go_on.wait(20)
            return super().sign(requirement)

    coordinator, _ = shop()
    wallet = Slow(Chain.MONAD, bytes([9] * 32))
    router = asynchronous(coordinator, wallet=wallet, spending=SpendingCaps(per_session=PRICE))

    async def cancelled() -> None:
        task = asyncio.create_task(router.run_task("classify", "A wonderful phone.", idempotency_key=key))
        assert await asyncio.to_thread(signing.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    async def again() -> None:
        async with router:
            await router.run_task("classify", "A wonderful phone.", idempotency_key=key)

    asyncio.run(cancelled())  # its end waits for the thread that signs
    assert (router.spent, received(coordinator)) == (PRICE, 0)
    if key is None:
        with pytest.raises(SpendingCapError):
            asyncio.run(again())
    else:
        asyncio.run(again())
    assert received(coordinator) <= router.spent == PRICE


@pytest.mark.parametrize("error", [LookupError("no budget"), KeyboardInterrupt(), SystemExit(3)])
def test_a_hook_that_fails_in_any_way_leaves_nothing_signed(evm: Wallet, error: BaseException) -> None:
    coordinator, _ = shop()

    def fail(plan: PaymentPlan) -> bool:
        raise error

    with blocking(coordinator, wallet=evm, before_payment=fail) as router:
        with pytest.raises(type(error)):
            classify(router)
        assert router.spent == 0
    assert sent(coordinator) == ["nothing"]


def test_a_hook_may_use_its_client(evm: Wallet) -> None:
    coordinator, _ = shop()
    seen: list[int] = []

    def agree(plan: PaymentPlan) -> bool:
        seen.append(router.spent)
        return not router.credits()

    with blocking(coordinator, wallet=evm, before_payment=agree) as router:
        classify(router)
    assert seen == [0]
