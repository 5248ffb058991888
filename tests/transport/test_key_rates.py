"""How often one API key may call each kind of endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.protocol.errors import RateLimitedError
from compute_router.transport.endpoint_limits import Cost, rates
from compute_router.transport.key_rates import KeyRates, key_rates
from compute_router.transport.limits import AddressLimits
from tests.fakes.clock import FakeClock
from tests.transport.accounts import accounts, told

FEW = AddressLimits(messages_per_second=1, burst_seconds=2)


@pytest.mark.parametrize("cost", Cost)
def test_a_key_may_make_its_burst_and_then_waits_and_no_other_key_does(cost: Cost) -> None:
    clock = FakeClock()
    limits = KeyRates(FEW, clock.steady_ms)
    for _ in range(key_rates(FEW)[cost].burst):
        limits.count("one", cost)
    with pytest.raises(RateLimitedError) as refused:
        limits.count("one", cost)
    limits.count("other", cost)
    clock.advance(1_000 * refused.value.retry_after_s)
    limits.count("one", cost)


def test_a_key_may_do_several_times_what_an_address_may() -> None:
    for cost, rate in rates(FEW).items():
        assert key_rates(FEW)[cost].per_minute == 4 * rate.per_minute


async def test_it_counts_on_every_endpoint_that_wants_a_key_also_from_this_machine(tmp_path: Path) -> None:
    clock = FakeClock()
    async with accounts(tmp_path, clock=clock, limits=FEW) as office:
        alice, bob = await office.make_key("alice"), await office.make_key("bob")
        job_id = await office.job_id(alice)
        for path in (f"/v1/jobs/{job_id}", "/v1/trust/list?user_id=alice"):
            answers = [await office.ask("GET", path, alice) for _ in range(130)]
            assert answers[0].status_code == 200
            assert told(answers[-1]) == (429, "rate_limited")
            assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await office.ask("GET", "/v1/trust/list?user_id=bob", bob)).status_code == 200


async def test_a_wrong_secret_uses_up_nothing_of_the_key_that_it_names(tmp_path: Path) -> None:
    async with accounts(tmp_path, limits=FEW, clock=FakeClock()) as office:
        alice = await office.make_key("alice")
        wrong = alice[:-1] + ("A" if alice[-1] != "A" else "B")
        for _ in range(50):
            assert (await office.commit(wrong)).status_code == 401
        assert (await office.commit(alice)).status_code == 201
