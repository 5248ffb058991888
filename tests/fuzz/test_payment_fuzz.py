"""Whatever comes in a header about money: 400 or 402 with the right body, and nothing is taken."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol import errors
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1, QUOTE_HEADER
from compute_router.protocol.payments import CREDIT_HEADER
from tests.fakes.signed_payments import v1_headers, v2_headers
from tests.fuzz.stage import PATIENCE_SECONDS
from tests.fuzz.strategies import as_json, json_values, mangled_bytes, mangled_objects
from tests.transport.harness import TASK
from tests.transport.payments.till import DOLLAR, Paid, both_chains, paid
from tests.transport.raw_http import RawAnswer, connect

HEADERS: Final = (PAYMENT_HEADER, PAYMENT_HEADER_V1, QUOTE_HEADER, CREDIT_HEADER)
BODY: Final = json.dumps(TASK).encode()
TABLES: Final = ("jobs", "payments", "credits", "ledger", "payment_totals")
CODES: Final = {
    400: {"payment_malformed"},
    402: {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PaymentRequiredError)
    },
}
NO_HTTP: Final = 400, b""
"""What bytes that cannot be in a header are answered with."""

Sent = list[tuple[str, bytes]]


@dataclass
class Scene:
    """A paid coordinator whose facilitator finds no payment good, and a payment that is good but for that."""

    runner: asyncio.Runner
    till: Paid
    newer: dict[str, Any]
    older: dict[str, Any]

    @property
    def good(self) -> list[dict[str, Any]]:
        """The payment in both versions."""
        return [self.newer, self.older]


@contextmanager
def scene(directory: Path, chain: Chain) -> Iterator[Scene]:
    """Set everything up once, for all examples of a test."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def set_up() -> Scene:
            till = await stack.enter_async_context(paid(directory, chain))
            wanted = await till.wanted()
            inner = till.seeker.sign(wanted)
            refusal = json.dumps({"isValid": False, "invalidReason": "not_today"}).encode()
            till.facilitator.faults["/verify"] = (200, refusal)
            (newer,), (older,) = v2_headers(wanted, inner).values(), v1_headers(wanted, inner).values()
            return Scene(runner, till, opened(newer), opened(older))

        try:
            yield runner.run(set_up())
        finally:
            runner.run(stack.aclose())


def opened(text: str) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(text)))


def values(good: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """What stands in a header: any bytes, base64 of anything, and payments that are nearly right."""
    whole = st.sampled_from(good)
    texts = st.one_of(
        json_values.map(as_json),
        whole.flatmap(mangled_objects).map(as_json),
        whole.map(as_json).flatmap(mangled_bytes),
        whole.map(as_json),
        st.binary(max_size=60),
        st.integers(1, 3_000).map(lambda depth: b"[" * depth),
    )
    encoded = texts.map(base64.b64encode)
    tokens = st.sampled_from([b"crc_" + b"A" * 43, b"crc_", b"a.b", b".", b"e30.e30", b""])
    anything = st.one_of(st.binary(max_size=80), encoded, encoded.flatmap(mangled_bytes), tokens)
    # What ends a header is no part of it.
    return anything.map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))


def requests(good: list[dict[str, Any]]) -> st.SearchStrategy[Sent]:
    """One to three such headers, the same one twice among them."""
    one = st.tuples(st.sampled_from(HEADERS), values(good).filter(lambda value: len(value) < 4_000))
    return st.lists(one, min_size=1, max_size=3)


@both_chains
def test_no_header_about_money_does_harm(tmp_path: Path, chain: Chain) -> None:
    with scene(tmp_path, chain) as here:

        @given(sent=requests(here.good))
        def example(sent: Sent) -> None:
            here.runner.run(committed(here, sent))

        example()
        here.runner.run(still_takes_a_good_payment(here))


async def committed(here: Scene, sent: Sent) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), connect(here.till.router.port) as connection:
        fields = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in sent)
        head = b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nHost: coordinator\r\nContent-Length: %d\r\n" % len(
            BODY
        )
        connection.send(head + fields + b"\r\n" + BODY)
        check(await connection.answer())
    assert here.till.left == DOLLAR
    assert {table: here.till.router.count(table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def check(answer: RawAnswer) -> None:
    if (answer.status, answer.body) == NO_HTTP:
        return
    body = answer.json()
    assert body["error"] in CODES[answer.status], body
    assert 0 < len(body["message"]) < 500
    if answer.status == 402:
        assert body["accepts"], "a 402 says how to pay, always"
        required = opened(answer.headers["payment-required"])
        assert (required["error"], required["x402Version"]) == (body["error"], 2)


async def still_takes_a_good_payment(here: Scene) -> None:
    """Nothing is held for all those payments: the payer can spend every cent."""
    till = here.till
    till.facilitator.faults.clear()
    payer = till.seeker.address.lower()
    till.play.has[payer] = int(here.newer["accepted"]["amount"])
    await till.commit(await till.payment())
