"""Start one coordinator: ``python run_coordinator.py --chain solana``."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from compute_router.actors.payment_gate import PaymentMode
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.system import start_system
from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError
from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.log_format import describe, log_to_stderr
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.payment_packages import payment_packages
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.app import HttpSettings, Server
from compute_router.transport.authentication import AuthMode, open_authentication
from compute_router.transport.coordinator_settings import Settings, read_settings
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.limits import AddressLimits

if TYPE_CHECKING:
    from compute_router.transport.payments.opening import OpenedPayments

logger = logging.getLogger("compute_router")

EXIT_OK = 0
EXIT_FAILED = 1

# A thread that waits for the interpreter lock asks for it after this long. The store's thread is such
# a one at each of its calls into SQLite; the default of 5 ms would be the better part of a job's time.
_SWITCH_INTERVAL_SECONDS = 0.0005

# Nearly all of what a job allocates dies with it, without cycles. Looking for cycles after every 700
# allocations, the default, would mostly walk through the connections of idle workers.
_GC_THRESHOLDS = (20_000, 20, 20)


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
    with payment_packages():
        # Slow to import, and not installed where it is not needed.
        from compute_router.transport.payments.opening import PaymentSettings, open_payments
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
