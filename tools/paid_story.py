"""What the paid demo does on one chain, told line by line. Every amount is checked against the chain."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import fee_of
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk import JobFailedError
from compute_router.sdk.demo_processes import DemoFailedError
from compute_router.sdk.results import TaskResult
from tools.paid_networks import USER, PaidNetwork
from tools.shell_commands import run_command
from tools.x402_seeker import PAYMENT_HEADERS, X402Seeker

_FEE_BPS: Final = 500  # the coordinator's default
_CHEAP: Final = "/v1/jobs/commit/cheap"
_THRESHOLD: Final = "0.001"  # in dollars; the payer's own default is one
_ARTICLE: Final = (
    "Most computers are idle most of the time. A desktop that renders video in the evening waits for its"
    " owner all day. A network can put those hours to use, and pay the owner for each finished job."
)
_REVIEW: Final = "The battery lasts two days and the screen is wonderful. I love this phone."
_NOTE: Final = 'The order is {"item": "lamp", "count": 2} and should arrive on Friday.'


@dataclass(frozen=True)
class Balances:
    """Play dollars on the chain."""

    seeker: MicroUsd
    operator: MicroUsd
    worker: MicroUsd

    def all(self) -> tuple[MicroUsd, MicroUsd, MicroUsd]:
        """In the order of the fields."""
        return self.seeker, self.operator, self.worker


def tell(network: PaidNetwork) -> None:
    """Pay for jobs by SDK and by x402's own client, let one fail, pay the worker, and check every balance.

    Raises:
        ComputeRouterError: something is not as it should be.
    """
    print(f"\n{network.label} ({NETWORKS[network.chain].caip2}), play USDC {network.local.token}", flush=True)
    before = _show_balances(network, "before")
    prices = [*_jobs_of_the_sdk(network), *_jobs_of_the_x402_client(network)]
    total = MicroUsd(sum(prices))
    fees = MicroUsd(sum(fee_of(price, _FEE_BPS) for price in prices))
    earned = MicroUsd(total - fees)
    after = _show_balances(network, "after these jobs")
    _check("the seeker paid", before.seeker - after.seeker, total)
    _check("the operator received", after.operator - before.operator, total)
    _pay_the_worker(network, earned)
    final = _show_balances(network, "after the payout")
    _check("the worker received", final.worker - before.worker, earned)
    _check("the operator kept", final.operator - before.operator, fees)
    _check("the seeker paid", before.seeker - final.seeker, total)
    run_command("check-db", str(network.database))
    print("   Chain and books agree, and the ledger's sum is zero:")
    print(f"      {_usd(total)}  paid by the seeker, for {len(prices)} finished jobs")
    print(f"      {_usd(earned)}  earned by the worker, and paid to its address")
    print(f"      {_usd(fees)}  kept by the operator, his fee", flush=True)


def _jobs_of_the_sdk(network: PaidNetwork) -> list[MicroUsd]:
    print("   Jobs that the SDK pays for, from a wallet file", flush=True)
    router = network.router
    prices = [
        _settled("summarize", router.run_task("summarize", _ARTICLE)),
        _settled("classify, PRIVATE, sealed", router.run_task("classify", _REVIEW, privacy="PRIVATE")),
    ]
    _fails_unpaid(network)
    return prices


def _settled(what: str, result: TaskResult) -> MicroUsd:
    payment = result.payment
    if payment is None or payment.state is not PaymentState.SETTLED or payment.transaction_ref is None:
        raise DemoFailedError(f"The job {result.job_id} is done, and should be settled: {payment}.")
    if what.endswith("sealed") != result.sealed:
        raise DemoFailedError(f"The job {result.job_id} was sealed, or not, against what was asked for.")
    return _paid(what, payment.amount, payment.transaction_ref)


def _fails_unpaid(network: PaidNetwork) -> None:
    """A prompt to a model that fails: its payment is void, and no money moves."""
    try:
        network.router.run_llm("Why is the sky blue?")
    except JobFailedError as error:
        payment = error.payment
        if payment is None or payment.state is not PaymentState.VOID:
            raise DemoFailedError(f"The payment of a failed job should be void: {payment}.") from error
        why = f"failed ({error.detail}), so its payment of {format_usd(payment.amount)} is void"
        _line("inference", MicroUsd(0), why)
    else:
        raise DemoFailedError("The job for a model that always fails did not fail.")


def _jobs_of_the_x402_client(network: PaidNetwork) -> list[MicroUsd]:
    print("   Jobs that the official x402 client pays for, over plain HTTP", flush=True)
    payload = {"task_type": "extract_json", "input": _NOTE}
    job = {"job_type": "TASK", "user_id": USER, "payload": payload}
    prices = []
    url, rpc_url = network.router.base_url, network.local.rpc_url
    with X402Seeker(url, network.chain, network.seeker.key, rpc_url) as seeker:
        for version in PAYMENT_HEADERS:
            done = seeker.run(_CHEAP, job, version)
            payment = done.payment
            settled = payment.state is PaymentState.SETTLED and payment.transaction_ref is not None
            if done.status is not JobStatus.COMPLETED or not settled:
                became = f"{done.status.value}, {payment.state.value}"
                raise DemoFailedError(f"The job {done.id} should be done and settled: {became}.")
            what = f"extract, x402 version {version}"
            prices.append(_paid(what, MicroUsd(payment.amount), str(payment.transaction_ref)))
    return prices


def _pay_the_worker(network: PaidNetwork, earned: MicroUsd) -> None:
    owed = network.router.earnings(network.worker.pubkey)
    _check("the worker earned", owed.earned, earned)
    _check("the worker is owed", owed.pending, earned)
    print("   The operator pays the worker what it earned: the prices less the fee of 5 %")
    connection = ["--chain", network.chain.value, "--url", network.router.base_url]
    command = [*connection, "--api-key-file", str(network.admin_key), "--threshold", _THRESHOLD]
    _run("payout", "--dry-run", *command)
    money = ["--key", str(network.operator.key), "--rpc-url", network.local.rpc_url]
    with _time_runs_fast(network):
        _run("payout", "--execute", *command, *money)
    _run("earnings", network.worker.pubkey, *connection)
    paid = network.router.earnings(network.worker.pubkey)
    _check("the worker was paid, by the books,", paid.paid_out, earned)
    _check("the worker is still owed", paid.pending, MicroUsd(0))


@contextmanager
def _time_runs_fast(network: PaidNetwork) -> Iterator[None]:
    """Let the play chain's clock run ten times faster: on Solana a block is final after 13 seconds."""
    stop = threading.Event()

    def advance() -> None:
        while not stop.wait(0.1):
            network.local.advance(1)

    ticking = threading.Thread(target=advance, name="fast clock")
    ticking.start()
    try:
        yield
    finally:
        stop.set()
        ticking.join()


def _run(*arguments: str) -> None:
    """Run a command and show what it prints."""
    print(f"      $ compute-router {' '.join(arguments[:2])} ...", flush=True)
    for line in run_command(*arguments).splitlines():
        print(f"        {line}", flush=True)


def _paid(what: str, price: MicroUsd, reference: str) -> MicroUsd:
    _line(what, price, f"settled by {reference}")
    return price


def _line(what: str, price: MicroUsd, outcome: str) -> None:
    print(f"      {_usd(price)}  {what:26} {outcome}", flush=True)


def _show_balances(network: PaidNetwork, when: str) -> Balances:
    balance = network.local.balance
    accounts = (network.seeker, network.operator, network.worker_account)
    found = Balances(*(balance(account.address) for account in accounts))
    print(f"   On the chain, {when}")
    for who, account, amount in zip(("seeker", "operator", "worker"), accounts, found.all(), strict=True):
        print(f"      {_usd(amount)}  {who:8} {account.address}", flush=True)
    return found


def _usd(amount: MicroUsd) -> str:
    return f"{format_usd(amount):7}"


def _check(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DemoFailedError(f"Not right: {what} {found} micro-USD, and it should be {expected}.")
