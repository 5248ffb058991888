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

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import FEES, fee_of, payer_account, worker_account
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk.cli_output import say
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.demo_processes import DemoFailedError, Processes
from compute_router.sdk.exit_codes import ExitCode
from tools.failing_model import FailingModel
from tools.paid_networks import PaidNetwork, paid_networks
from tools.x402_seeker import X402Seeker

_FEE_BPS: Final = 500  # the coordinator's default
_CHEAP: Final = "/v1/jobs/commit/cheap"
_FAST: Final = "/v1/jobs/commit/fast"
_ARTICLE: Final = (
    "Most computers are idle most of the time. A desktop that renders video in the evening waits for its"
    " owner all day. A network can put those hours to use, and pay the owner for each finished job."
)
_REVIEW: Final = "The battery lasts two days and the screen is wonderful. I love this phone."


@dataclass(frozen=True)
class Balances:
    """Tokens on the chain."""

    seeker: MicroUsd
    operator: MicroUsd


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
            except KeyboardInterrupt:
                return ExitCode.INTERRUPTED
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
    with X402Seeker(network.url, network.chain, network.wallet, network.local.rpc_url) as seeker:
        prices = [_paid(seeker, "summarize", _ARTICLE), _paid(seeker, "classify", _REVIEW)]
        _fails_unpaid(seeker)
    after = _balances(network)
    _print("after", after)
    _check("the seeker paid", before.seeker - after.seeker, sum(prices))
    _check("the operator received", after.operator - before.operator, sum(prices))
    _check_ledger(network, prices)


def _paid(seeker: X402Seeker, task: str, text: str) -> MicroUsd:
    payload = {"task_type": task, "input": text}
    job = seeker.run(_CHEAP, {"job_type": "TASK", "user_id": "demo", "payload": payload})
    payment = job.payment
    settled = payment.state is PaymentState.SETTLED and payment.transaction_ref is not None
    if job.status is not JobStatus.COMPLETED or not settled:
        raise DemoFailedError(f"The job {job.id} should be done and settled: {job.status}, {payment.state}.")
    price = MicroUsd(payment.amount)
    print(f"   {task}: {format_usd(price)}, settled by {payment.transaction_ref}", flush=True)
    return price


def _fails_unpaid(seeker: X402Seeker) -> None:
    """A prompt to a model that fails: its payment is void, and no money moves."""
    payload = {"prompt": "Why is the sky blue?"}
    job = seeker.run(_FAST, {"job_type": "LLM_INFER", "user_id": "demo", "payload": payload})
    if job.status is not JobStatus.FAILED or job.payment.state is not PaymentState.VOID:
        raise DemoFailedError(f"The job {job.id} should fail unpaid: {job.status}, {job.payment.state}.")
    price = format_usd(MicroUsd(job.payment.amount))
    print(f"   inference for {price}: failed ({job.result['detail']}), and nothing was charged", flush=True)


def _balances(network: PaidNetwork) -> Balances:
    return Balances(network.local.balance(network.payer), network.local.balance(network.operator))


def _print(when: str, balances: Balances) -> None:
    seeker, operator = format_usd(balances.seeker), format_usd(balances.operator)
    print(f"   {when:6} the seeker has {seeker}, the operator {operator}", flush=True)


def _check_ledger(network: PaidNetwork, prices: list[MicroUsd]) -> None:
    """The coordinator's books say the same as the chain, and their sum is zero."""
    books = network.ledger()
    earned = books.get(worker_account(network.worker.pubkey), MicroUsd(0))
    fees = books.get(FEES, MicroUsd(0))
    print(f"   earned by the worker {format_usd(earned)}, by the operator {format_usd(fees)}", flush=True)
    fee = sum(fee_of(price, _FEE_BPS) for price in prices)
    _check("the sum of the ledger is", sum(books.values()), 0)
    _check(
        "the ledger says that the seeker paid",
        -books.get(payer_account(network.payer_in_books), 0),
        sum(prices),
    )
    _check("the worker earned", earned, sum(prices) - fee)
    _check("the operator's fees are", fees, fee)


def _check(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DemoFailedError(f"Not right: {what} {found} micro-USD, and should have {expected}.")


if __name__ == "__main__":
    raise SystemExit(main())
