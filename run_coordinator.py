"""Start one coordinator: ``python run_coordinator.py --chain solana``.

The only place that reads the coordinator's flags and environment.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from compute_router.actors.payment_gate import PaymentMode
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.system import start_system
from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError
from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.log_format import describe, log_to_stderr
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.protocol.web_url import is_web_url
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.app import HttpSettings, Server
from compute_router.transport.authentication import AuthMode, open_authentication
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.limits import AddressLimits

if TYPE_CHECKING:
    from compute_router.transport.payments.opening import OpenedPayments

logger = logging.getLogger("compute_router")

LOCAL = "local"
"""A facilitator of our own."""

_PAYMENT_FLAGS = (
    "--pay-to",
    "--facilitator",
    "--facilitator-key",
    "--rpc-url",
    "--fee-bps",
    "--max-unsettled",
    "--max-losses",
)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

# A thread that waits for the interpreter lock asks for it after this long. The store's thread is such
# a one at each of its calls into SQLite; the default of 5 ms would be the better part of a job's time.
_SWITCH_INTERVAL_SECONDS = 0.0005

# Nearly all of what a job allocates dies with it, without cycles. Looking for cycles after every 700
# allocations, the default, would mostly walk through the connections of idle workers.
_GC_THRESHOLDS = (20_000, 20, 20)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can choose. ``unused`` are variables about payments that are off."""

    chain: Chain
    host: str
    port: int
    db: Path
    key: Path
    log_level: str
    payments: PaymentMode
    unused: tuple[str, ...]
    pay_to: str | None
    facilitator: str | None
    facilitator_key: Path | None
    rpc_url: str
    fee_bps: int
    max_unsettled: MicroUsd
    max_losses: MicroUsd
    auth: AuthMode
    max_body_bytes: int
    cors_origins: tuple[str, ...]
    ws_origins: tuple[str, ...]
    queue_window: DurationMs
    max_ttl: DurationMs
    max_run: DurationMs
    max_jobs: int
    max_jobs_per_user: int
    max_workers: int
    legacy_workers: bool
    audit_share: float
    require_receipts: bool
    max_connections_per_address: int
    max_messages_per_second: int
    max_sockets_per_minute: int
    drain: DurationMs
    keep: DurationMs | None


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags, then environment, then defaults. A bad one ends the process with exit code 2."""
    parser = _parser(environ)
    given = parser.parse_args(argv)
    if given.chain is None:
        parser.error("say which chain to serve: --chain solana or --chain monad")
    network = NETWORKS[given.chain]
    try:
        unused = check_payment_settings(given, argv, environ)
    except ConfigurationError as error:
        parser.error(str(error))
    money = PAYMENT_NETWORKS[given.chain]
    database = Path(network.default_database) if given.db is None else given.db
    return Settings(
        chain=given.chain,
        host=given.host,
        port=network.default_port if given.port is None else given.port,
        db=database,
        key=_key_beside(database) if given.key is None else given.key,
        log_level=given.log_level,
        payments=given.payments,
        unused=unused,
        pay_to=given.pay_to,
        facilitator=None if given.facilitator == LOCAL else given.facilitator or money.default_facilitator,
        facilitator_key=given.facilitator_key,
        rpc_url=given.rpc_url or money.default_rpc_url,
        fee_bps=given.fee_bps,
        max_unsettled=given.max_unsettled,
        max_losses=given.max_losses,
        auth=given.auth,
        max_body_bytes=given.max_body_bytes,
        cors_origins=given.cors_origins,
        ws_origins=given.ws_origins,
        queue_window=given.queue_window_seconds,
        max_ttl=given.max_ttl_seconds,
        max_run=given.max_run_seconds,
        max_jobs=given.max_jobs,
        max_jobs_per_user=given.max_jobs_per_user,
        max_workers=given.max_workers,
        legacy_workers=given.legacy_workers,
        audit_share=given.audit_share,
        require_receipts=given.require_receipts,
        max_connections_per_address=given.max_connections_per_address,
        max_messages_per_second=given.max_messages_per_second,
        max_sockets_per_minute=given.max_sockets_per_minute,
        drain=given.drain_seconds,
        keep=given.keep_days,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_coordinator.py",
        description="Run a Compute Router coordinator: HTTP API and worker WebSocket on one port.",
        epilog="Each flag can be set by the environment variable named with it; the flag wins.",
        # Half a word must not be taken for a flag about money.
        allow_abbrev=False,
    )

    def option(
        flag: str, read: Callable[[str], Any], default: str | None, text: str, variable: str | None = None
    ) -> None:
        name = f"COMPUTE_ROUTER_{variable}" if variable else _variable(flag)
        shown = "" if not default else f" Default: {default}."
        # argparse passes defaults that are text through ``type``, so the environment is checked like flags.
        parser.add_argument(
            flag,
            type=read,
            default=environ.get(name) or default,
            metavar=flag.lstrip("-").replace("-", "_").upper(),
            help=f"{text}{shown} [{name}]",
        )

    def switch(flag: str, text: str) -> None:
        name = _variable(flag)
        parser.add_argument(
            flag,
            type=_yes_or_no,
            nargs="?",
            const="yes",
            default=environ.get(name) or "no",
            metavar="yes|no",
            help=f"{text} Default: no. [{name}]",
        )

    option("--chain", _choice(Chain), None, "Chain to serve: solana or monad. Required.")
    option("--host", str, "127.0.0.1", "Address to listen on.")
    option("--port", _port, None, "Port to listen on, 0 for any free one. Default: 4020 solana, 4010 monad.")
    option("--db", Path, None, "Database file. Default: solana.db or monad.db in the current directory.")
    key = "File of the key that countersigns receipts. Default: named as the database, ending in .key."
    # COMPUTE_ROUTER_KEY is the worker's, and one key must not be both.
    option("--key", Path, None, key, variable="COORDINATOR_KEY")
    option("--log-level", _log_level, "info", "debug, info, warning or error.")
    option(
        "--payments", _choice(PaymentMode), "off", "off: every job is free. on: jobs are paid for in USDC."
    )
    option("--pay-to", str, None, "Address that payments go to. Needed with --payments on.")
    option(
        "--facilitator", _facilitator, None, "URL of an x402 facilitator, or local. Default: the network's."
    )
    option("--facilitator-key", Path, None, "Key file of the local facilitator, which pays for transactions.")
    option("--rpc-url", _url, None, "Node of the chain. Default: the network's public one.")
    option(
        "--fee-bps", _basis_points, "500", "The operator's share of each price, in hundredths of a percent."
    )
    unsettled = "What one payer may owe, in dollars, while the chain cannot be read or after losses."
    option("--max-unsettled", _dollars, "1", unsettled)
    losses = "When so many dollars are lost within 24 hours, paid jobs are refused."
    option("--max-losses", _dollars, "5", losses)
    option("--auth", _choice(AuthMode), "open", "open: anybody may send jobs. keys: only with an API key.")
    option("--max-body-bytes", _positive, "1048576", "Largest request body and worker frame.")
    option("--cors-origins", _origins, "", "Browser origins that may call the API, by commas; * is all.")
    option("--ws-origins", _origins, "", "Browser origins that may connect as workers, by commas; * is all.")
    option("--queue-window-seconds", _seconds, "30", "How long a job may wait, unless it says otherwise.")
    option("--max-ttl-seconds", _seconds, "3600", "The longest wait that a job may ask for.")
    option("--max-run-seconds", _seconds, "3600", "How long one attempt at a job may run.")
    option("--max-jobs", _count, "200000", "Unfinished jobs at once.")
    option("--max-jobs-per-user", _count, "1000", "Unfinished jobs of one user at once.")
    option("--max-workers", _count, "50000", "Registered workers at once.")
    switch("--require-receipts", "Refuse results that come without a signed receipt.")
    switch("--legacy-workers", "Give PRIVATE jobs also to workers that name a paired key without proving it.")
    option("--audit-share", _share, "0.01", "Share of tasks that a second worker repeats, 0 to 1.")
    option("--max-connections-per-address", _count, "256", "Connections of one other machine at once.")
    option("--max-messages-per-second", _count, "100", "Requests and frames of one other machine.")
    option("--max-sockets-per-minute", _count, "600", "WebSockets that one other machine may open.")
    option("--drain-seconds", _pause, "10", "How long running jobs may take to finish after SIGTERM.")
    option("--keep-days", _days, None, "Delete finished jobs after so many days. Default: never.")
    return parser


def _key_beside(database: Path) -> Path:
    key = database.with_suffix(".key")
    return key if key != database else Path(f"{database}.key")


def _choice(kind: type[Enum]) -> Callable[[str], Enum]:
    def read(text: str) -> Enum:
        try:
            return kind(text.lower())
        except ValueError:
            choices = " or ".join(str(member.value) for member in kind)
            raise argparse.ArgumentTypeError(f"{text!r} is not {choices}") from None

    return read


def _yes_or_no(text: str) -> bool:
    answers = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return answers[text.lower()]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _whole(unit: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and 0 < int(text) <= 1 << 30):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} from 1 to {1 << 30}")
        return int(text)

    return read


_positive = _whole("bytes")
_count = _whole("things at once")


def _duration(text: str, unit: str, unit_ms: int, most: float, *, zero: bool = False) -> DurationMs:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 < number <= most or (zero and number == 0)):
        least = "from 0" if zero else "above 0"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} {least} to {most:g}")
    return DurationMs(round(number * unit_ms))


_seconds = partial(_duration, unit="seconds", unit_ms=1000, most=86_400)
_pause = partial(_duration, unit="seconds", unit_ms=1000, most=86_400, zero=True)


def _days(text: str) -> DurationMs:
    keep = _duration(text, unit="days", unit_ms=86_400_000, most=36_500)
    if keep < 86_400_000:
        # Idempotency keys are promised for a day, and a key must not outlive its job.
        raise argparse.ArgumentTypeError(f"{text!r} is less than one day")
    return keep


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share


def _url(text: str) -> str:
    if not is_web_url(text):
        raise argparse.ArgumentTypeError("this is not a URL such as https://host or http://host:8000/path")
    return text


def _facilitator(text: str) -> str:
    # It is shown at the start and in health, so it must hold no secret.
    if text != LOCAL and {"@", "?", "#"} & set(_url(text)):
        raise argparse.ArgumentTypeError("the URL of a facilitator has no user, query or fragment")
    return text


def _basis_points(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of basis points from 0 to 10000")
    return int(text)


def _dollars(text: str) -> MicroUsd:
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole and len(whole) <= 9 and len(fraction) <= 6):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dollars with at most 6 decimals")
    return MicroUsd(int(whole) * 1_000_000 + int(fraction.ljust(6, "0")))


def check_payment_settings(
    given: argparse.Namespace, argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Whether the settings of payments fit each other; ``pay_to`` gets its one form.

    Returns the variables that are set for nothing, because payments were turned off in so many words.

    Raises:
        ConfigurationError: they do not fit. The sentence says what to change.
    """
    if given.payments is PaymentMode.OFF:
        for flag in _PAYMENT_FLAGS:
            if _is_given(flag, argv):
                raise ConfigurationError(f"{flag} is for --payments on, and payments are off")
        unused = tuple(_variable(flag) for flag in _PAYMENT_FLAGS if environ.get(_variable(flag)))
        said = _is_given("--payments", argv) or environ.get(_variable("--payments"))
        # Wallets on this machine use the node as well, so that says nothing about what the operator wants.
        meant = [name for name in unused if name != _variable("--rpc-url")]
        if meant and not said:
            raise ConfigurationError(
                f"{meant[0]} is set, and payments are not turned on: "
                f"set {_variable('--payments')} to on, or to off if every job shall be free"
            )
        return unused
    if not given.pay_to:
        raise ConfigurationError("--payments on needs --pay-to ADDRESS: where shall the money go?")
    try:
        given.pay_to = checked_address(given.chain, given.pay_to)
    except AddressError as error:
        raise ConfigurationError(f"--pay-to: {error}") from None
    if given.facilitator == LOCAL and given.facilitator_key is None:
        raise ConfigurationError("--facilitator local needs --facilitator-key PATH: it pays for transactions")
    if given.facilitator != LOCAL and given.facilitator_key is not None:
        raise ConfigurationError("--facilitator-key is for --facilitator local")
    return ()


def _is_given(flag: str, argv: Sequence[str]) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in argv)


def _variable(flag: str) -> str:
    return "COMPUTE_ROUTER_" + flag.lstrip("-").replace("-", "_").upper()


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise argparse.ArgumentTypeError(f"{text!r} is not debug, info, warning or error")
    return level


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
            raise argparse.ArgumentTypeError(f"{origin!r} is not an origin such as https://example.org")
    return origins


async def serve(settings: Settings) -> int:
    """Run a coordinator until it is told to stop; returns the exit code.

    Raises:
        ConfigurationError: it cannot start with these settings.
    """
    if settings.payments is PaymentMode.OFF:
        return await _serve(settings, None)
    async with _open_payments(settings) as opened:
        return await _serve(settings, opened)


def _open_payments(settings: Settings) -> AbstractAsyncContextManager[OpenedPayments]:
    try:
        # Slow to import, and not installed where it is not needed.
        from compute_router.transport.payments.opening import PaymentSettings, open_payments
    except ImportError as error:
        raise ConfigurationError(
            f"Payments need packages that are not installed ({error.name}). "
            "Run: pip install 'compute-router[payments]'"
        ) from None
    assert settings.pay_to is not None, "checked with the flags"
    return open_payments(
        PaymentSettings(
            chain=settings.chain,
            pay_to=settings.pay_to,
            facilitator=settings.facilitator,
            facilitator_key=settings.facilitator_key,
            rpc_url=settings.rpc_url,
            fee_bps=settings.fee_bps,
            max_unsettled=settings.max_unsettled,
            max_losses=settings.max_losses,
        )
    )


async def _serve(settings: Settings, opened: OpenedPayments | None) -> int:
    network = NETWORKS[settings.chain]
    watch = JobWatch()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(exit_code: int) -> None:
        if not ended.done():
            ended.set_result(exit_code)

    failed = asyncio.Event()

    def on_death(error: BaseException) -> None:
        logger.critical("the coordinator stops because a core part of it failed: %s", describe(error))
        failed.set()
        end(EXIT_FAILED)

    system = await start_system(
        network=network,
        open_store=partial(open_sqlite_store, settings.db, network=network.caip2),
        watchers=watch,
        on_death=on_death,
        policy=MatchingPolicy(
            queue_window=settings.queue_window,
            max_queue_window=max(settings.max_ttl, settings.queue_window),
            run_limit=settings.max_run,
            max_jobs=settings.max_jobs,
            max_jobs_per_user=settings.max_jobs_per_user,
            max_workers=settings.max_workers,
            legacy_workers=settings.legacy_workers,
            audit_share=settings.audit_share,
            require_receipts=settings.require_receipts,
        ),
        payments=None if opened is None else opened.payments,
        keep=settings.keep,
    )
    http = HttpSettings(
        host=settings.host,
        port=settings.port,
        max_body_bytes=settings.max_body_bytes,
        cors_origins=settings.cors_origins,
        ws_origins=settings.ws_origins,
        limits=AddressLimits(
            connections=settings.max_connections_per_address,
            messages_per_second=settings.max_messages_per_second,
            sockets_per_minute=settings.max_sockets_per_minute,
        ),
    )
    try:
        authentication = await open_authentication(system, settings.auth, http.limits)
        if settings.auth is AuthMode.KEYS and not authentication.ring.has_admin:
            logger.warning("nobody can make API keys yet: run compute-router keys create --db while stopped")
        # After the database is held: whoever is refused that leaves no key behind.
        key = load_or_create_key(settings.key)
        countersigner = Countersigner(key, network.caip2)
        checkout = None if opened is None else opened.checkout(system, key)
        server = Server(system, watch, http, authentication, countersigner, checkout)
        port = server.listen()
        told_to_stop, told_again = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            if told_to_stop.is_set():
                told_again.set()
            told_to_stop.set()
            end(EXIT_OK)

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"{network.label} coordinator listening on http://{host}:{port}", flush=True)
        print(f"  network {network.caip2}, database {settings.db.resolve()}", flush=True)
        print(f"  countersigns receipts as {countersigner.pubkey} ({settings.key})", flush=True)
        print(f"  {_payments_line(settings)}", flush=True)
        if settings.auth is AuthMode.KEYS:
            print("  API keys are needed", flush=True)
        exit_code = await ended
        if exit_code == EXIT_OK and settings.drain:
            logger.info("draining: running jobs have %g s to finish", settings.drain / 1000)
            await _first(system.drain(settings.drain), told_again.wait())
        logger.info("stopping")
        await server.stop()
    finally:
        await system.stop()
    # A part may also die while the others drain.
    return EXIT_FAILED if failed.is_set() else exit_code


def _payments_line(settings: Settings) -> str:
    if settings.payments is PaymentMode.OFF:
        unused = f"; not used: {', '.join(settings.unused)}" if settings.unused else ""
        return f"payments off: every job is free{unused}"
    facilitator = settings.facilitator or "a local facilitator"
    share = f"{settings.fee_bps / 100:g} % of each price"
    return f"payments on: USDC goes to {settings.pay_to}, settled by {facilitator}; {share} is the operator's"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists, which is everywhere but on Windows: it takes a tenth off the cost of a job."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of some waits, and give up the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    settings = read_settings(sys.argv[1:] if argv is None else argv, os.environ)
    log_to_stderr(settings.log_level, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Below that it quotes what strangers send.
    logging.getLogger("tornado.general").setLevel(
        max(logging.WARNING, logging.getLevelName(settings.log_level))
    )
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(settings))
    except ConfigurationError as error:
        print(f"run_coordinator.py: {error}", file=sys.stderr)
        return EXIT_FAILED
    except ComputeRouterError as error:
        print(f"run_coordinator.py: cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
