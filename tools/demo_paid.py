"""The whole of paying on one machine: ``make demo-paid``.

Two chains, two coordinators with payments on and facilitators of their own, a worker each. A seeker with a
play wallet pays for finished jobs on both chains, and not for one that fails. Every balance is checked.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk import ComputeRouter, JobFailedError
from compute_router.sdk.cli_output import say, short_key
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.demo_processes import DemoFailedError, Processes
from compute_router.sdk.exit_codes import ExitCode
from tools.failing_model import FailingModel
from tools.paid_networks import PaidNetwork, paid_networks

FEE_BPS: Final = 500
_ARTICLE: Final = (
    "Most computers are idle most of the time. A desktop that renders video in the evening waits for its"
    " owner all day. A network can put those hours to use, and pay the owner for each finished job."
)
_REVIEW: Final = "The battery lasts two days and the screen is wonderful. I love this phone."
_EARNINGS_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Balances:
    """Tokens on the chain."""

    seeker: MicroUsd
    operator: MicroUsd


class EarningsAnswer(msgspec.Struct, frozen=True):
    """The part of ``GET /v1/workers/{pubkey}/earnings`` that is looked at here."""

    earned: MicroUsd


def main() -> int:
    """Run the demo; the exit code. Whatever happens, its processes are stopped and its directory goes."""
    parser = argparse.ArgumentParser(prog="make demo-paid", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="keep keys, databases and logs")
    keep = parser.parse_args().keep
    directory = Path(tempfile.mkdtemp(prefix="compute-router-demo-paid-"))
    try:
        with Interrupts() as interrupts:
            processes = Processes(directory, interrupts)
            try:
                with processes:
                    return _run(processes)
            finally:
                processes.stop()
    finally:
        if keep:
            say(f"Keys, databases and logs are in {directory}")
        else:
            shutil.rmtree(directory)


def _run(processes: Processes) -> ExitCode:
    started_at = time.monotonic()
    print("Starting two chains, two coordinators with payments on, and a worker each ...", flush=True)
    try:
        with FailingModel() as model, paid_networks(processes, model.url) as networks:
            for network in networks:
                _show(network)
    except ComputeRouterError as error:
        say(f"demo-paid: {error}")
        for name, lines in processes.tails().items():
            say(f"--- last lines of the {name}")
            for line in lines:
                say(f"    {line}")
        return ExitCode.FAILED
    print(f"\nEvery balance is right. That took {time.monotonic() - started_at:.1f} s.", flush=True)
    return ExitCode.OK


def _show(network: PaidNetwork) -> None:
    print(f"\n{NETWORKS[network.chain].label}, {network.local.token}")
    before = _balances(network)
    _print("before", before)
    with ComputeRouter(
        network.url,
        chain=network.chain,
        user_id="demo",
        wallet=network.wallet,
        rpc_url=network.local.rpc_url,
        require_verified=True,
    ) as router:
        paid = MicroUsd(_paid(router, "summarize", _ARTICLE) + _paid(router, "classify", _REVIEW))
        _fails_unpaid(router)
    after = _balances(network)
    _print("after", after)
    earned = _earned(network)
    print(f"   worker {short_key(network.worker.pubkey)} has earned {format_usd(earned)}", flush=True)
    fee = MicroUsd(2 * (paid // 2 * FEE_BPS // 10_000))
    _check("the seeker paid", before.seeker - after.seeker, paid)
    _check("the operator received", after.operator - before.operator, paid)
    _check("the worker earned", earned, paid - fee)


def _paid(router: ComputeRouter, task: str, text: str) -> MicroUsd:
    result = router.run_task(task, text, policy="CHEAP")
    payment = result.payment
    if payment is None or payment.state != "settled" or payment.transaction_ref is None:
        raise DemoFailedError(f"The job {result.job_id} is done, and its payment is not settled: {payment}.")
    print(f"   {task}: {format_usd(payment.amount)}, settled by {payment.transaction_ref}", flush=True)
    return payment.amount


def _fails_unpaid(router: ComputeRouter) -> None:
    """A prompt to a model that fails: nothing may be charged."""
    try:
        router.run_llm("Why is the sky blue?", policy="FAST", timeout_s=30)
    except JobFailedError as error:
        print(f"   inference: failed ({error.reason}), and nothing was charged", flush=True)
    else:
        raise DemoFailedError("The model that fails at everything answered.")


def _balances(network: PaidNetwork) -> Balances:
    return Balances(network.local.balance(network.payer), network.local.balance(network.operator))


def _print(when: str, balances: Balances) -> None:
    seeker, operator = format_usd(balances.seeker), format_usd(balances.operator)
    print(f"   {when:6} the seeker has {seeker}, the operator {operator}", flush=True)


def _earned(network: PaidNetwork) -> MicroUsd:
    url = f"{network.url}/v1/workers/{network.worker.pubkey}/earnings"
    try:
        response = httpx.get(url, timeout=_EARNINGS_TIMEOUT_S, trust_env=False).raise_for_status()
        return msgspec.json.decode(response.content, type=EarningsAnswer).earned
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise DemoFailedError(f"The earnings cannot be read: {error}") from None


def _check(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DemoFailedError(f"Not right: {what} {found} micro-USD, and should have {expected}.")


if __name__ == "__main__":
    raise SystemExit(main())
