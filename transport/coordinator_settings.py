"""The coordinator's settings: flags, then environment, then defaults. The only place that reads them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from compute_router.actors.payment_gate import PaymentMode
from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.transport import flag_values as read
from compute_router.transport.authentication import AuthMode
from compute_router.transport.flags import Flags, ProgramParser, is_given, variable_of

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
        unused = _check_payments(given, argv, environ)
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
    parser = ProgramParser(
        "run_coordinator.py",
        "Run a Compute Router coordinator: HTTP API and worker WebSocket on one port.",
    )

    flags = Flags(parser, environ)
    option, switch = flags.option, flags.switch
    option("--chain", read.choice(Chain), None, "Chain to serve: solana or monad. Required.")
    option("--host", str, "127.0.0.1", "Address to listen on.")
    option(
        "--port",
        read.port,
        None,
        "Port to listen on, 0 for any free one. Default: 4020 solana, 4010 monad.",
    )
    option("--db", Path, None, "Database file. Default: solana.db or monad.db in the current directory.")
    key = "File of the key that countersigns receipts. Default: named as the database, ending in .key."
    # COMPUTE_ROUTER_KEY is the worker's, and one key must not be both.
    option("--key", read.key_file, None, key, variable="COORDINATOR_KEY")
    option("--log-level", read.log_level, "info", "debug, info, warning or error.")
    option(
        "--payments",
        read.choice(PaymentMode),
        "off",
        "off: every job is free. on: jobs are paid for in USDC.",
    )
    option("--pay-to", str, None, "Address that payments go to. Needed with --payments on.")
    option(
        "--facilitator", _facilitator, None, "URL of an x402 facilitator, or local. Default: the network's."
    )
    gas_key = "Key file of the local facilitator, which pays for transactions."
    option("--facilitator-key", read.key_file, None, gas_key)
    option("--rpc-url", read.url, None, "Node of the chain. Default: the network's public one.")
    option(
        "--fee-bps",
        read.basis_points,
        "500",
        "The operator's share of each price, in hundredths of a percent.",
    )
    unsettled = "What one payer may owe, in dollars, while the chain cannot be read or after losses."
    option("--max-unsettled", read.dollars, "1", unsettled)
    losses = "When so many dollars are lost within 24 hours, paid jobs are refused."
    option("--max-losses", read.dollars, "5", losses)
    option(
        "--auth",
        read.choice(AuthMode),
        "open",
        "open: anybody may send jobs. keys: only with an API key.",
    )
    option("--max-body-bytes", read.positive, "1048576", "Largest request body and worker frame.")
    option(
        "--cors-origins",
        read.origins,
        "",
        "Browser origins that may call the API, by commas; * is all.",
    )
    option(
        "--ws-origins",
        read.origins,
        "",
        "Browser origins that may connect as workers, by commas; * is all.",
    )
    option(
        "--queue-window-seconds",
        read.seconds,
        "30",
        "How long a job may wait, unless it says otherwise.",
    )
    option("--max-ttl-seconds", read.seconds, "3600", "The longest wait that a job may ask for.")
    option("--max-run-seconds", read.seconds, "3600", "How long one attempt at a job may run.")
    option("--max-jobs", read.count, "200000", "Unfinished jobs at once.")
    option("--max-jobs-per-user", read.count, "1000", "Unfinished jobs of one user at once.")
    option("--max-workers", read.count, "50000", "Registered workers at once.")
    switch("--require-receipts", "Refuse results that come without a signed receipt.")
    switch("--legacy-workers", "Give PRIVATE jobs also to workers that name a paired key without proving it.")
    option("--audit-share", read.share, "0.01", "Share of tasks that a second worker repeats, 0 to 1.")
    option("--max-connections-per-address", read.count, "256", "Connections of one other machine at once.")
    option("--max-messages-per-second", read.count, "100", "Requests and frames of one other machine.")
    option("--max-sockets-per-minute", read.count, "600", "WebSockets that one other machine may open.")
    option("--drain-seconds", read.pause, "10", "How long running jobs may take to finish after SIGTERM.")
    option("--keep-days", read.days, None, "Delete finished jobs after so many days. Default: never.")
    return parser


def _key_beside(database: Path) -> Path:
    key = database.with_suffix(".key")
    return key if key != database else Path(f"{database}.key")


def _facilitator(text: str) -> str:
    # It is shown at the start and in health, so it must hold no secret.
    if text != LOCAL and {"@", "?", "#"} & set(read.url(text)):
        raise argparse.ArgumentTypeError("the URL of a facilitator has no user, query or fragment")
    return text


def _check_payments(
    given: argparse.Namespace, argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Whether the settings of payments fit each other; ``pay_to`` gets its one form.

    Returns the variables that are set for nothing, because payments were turned off in so many words.

    Raises:
        ConfigurationError: they do not fit. The sentence says what to change.
    """
    if given.payments is PaymentMode.OFF:
        for flag in _PAYMENT_FLAGS:
            if is_given(flag, argv):
                raise ConfigurationError(f"{flag} is for --payments on, and payments are off")
        unused = tuple(variable_of(flag) for flag in _PAYMENT_FLAGS if environ.get(variable_of(flag)))
        said = is_given("--payments", argv) or environ.get(variable_of("--payments"))
        # Wallets on this machine use the node as well, so that says nothing about what the operator wants.
        meant = [name for name in unused if name != variable_of("--rpc-url")]
        if meant and not said:
            raise ConfigurationError(
                f"{meant[0]} is set, and payments are not turned on: "
                f"set {variable_of('--payments')} to on, or to off if every job shall be free"
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
