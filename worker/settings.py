"""What the worker is told by flags and environment. Nothing else in the worker reads the environment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import MAX_SLOTS
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs
from compute_router.worker.addresses import check_http_url
from compute_router.worker.timing import DRAIN_LIMIT

DEFAULT_COORDINATOR: Final = "http://127.0.0.1:4020"
DEFAULT_OLLAMA: Final = "http://127.0.0.1:11434"
DEFAULT_KEY: Final = "~/.compute-router/worker.key"
MAX_DRAIN_SECONDS: Final = 86_400

_ENVIRONMENT_PREFIX: Final = "COMPUTE_ROUTER_"
_FLAGS: Final = (
    "coordinator",
    "type",
    "key",
    "ollama",
    "model",
    "pair",
    "payout-address",
    "slots",
    "drain-seconds",
    "log-level",
)
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class Settings(msgspec.Struct, frozen=True):
    """Checked settings. URLs have no slash at their end; ``model`` None: the first that Ollama lists."""

    coordinator: str
    provider_type: ProviderType
    key: Path
    ollama: str
    model: str | None
    pair: str | None
    slots: int
    drain_limit: DurationMs
    log_level: str
    payout_address: str | None = None


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, then from ``COMPUTE_ROUTER_*`` variables, then the defaults.

    Raises:
        ConfigurationError: an address is not usable, the coordinator's or that of payouts.
        SystemExit: a flag is wrong (2), or help was asked for (0); argparse has printed why.
    """
    parsed = _parser().parse_args([*_flags_from(environment), *argv])
    return Settings(
        coordinator=check_http_url(parsed.coordinator, "--coordinator"),
        provider_type=ProviderType(parsed.type.upper()),
        key=Path(parsed.key).expanduser(),
        ollama=check_http_url(parsed.ollama, "--ollama"),
        model=parsed.model,
        pair=parsed.pair,
        slots=parsed.slots,
        drain_limit=DurationMs(parsed.drain_seconds * 1000),
        log_level=parsed.log_level,
        payout_address=None if parsed.payout_address is None else _address(parsed.payout_address),
    )


def _flags_from(environment: Mapping[str, str]) -> list[str]:
    """Variables as flags. They go before the real flags, so that those win and all are checked alike."""
    values = ((flag, environment.get(variable_of(flag))) for flag in _FLAGS)
    return [f"--{flag}={value}" for flag, value in values if value]


def variable_of(flag: str) -> str:
    """The environment variable that stands for a flag: ``log-level`` is ``COMPUTE_ROUTER_LOG_LEVEL``."""
    return _ENVIRONMENT_PREFIX + flag.replace("-", "_").upper()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compute-router worker",
        description="Run jobs for a coordinator on this machine, and sign a receipt for each.",
        epilog="Every flag can also be set in the environment, such as COMPUTE_ROUTER_COORDINATOR or "
        "COMPUTE_ROUTER_LOG_LEVEL; flags win.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--coordinator",
        metavar="URL",
        default=DEFAULT_COORDINATOR,
        help="address of the coordinator (default: %(default)s)",
    )
    add(
        "--type",
        choices=[provider_type.value.lower() for provider_type in ProviderType],
        default=ProviderType.DESKTOP.value.lower(),
        help="desktop serves tasks and, through Ollama, models; seeker only tasks (default: %(default)s)",
    )
    add(
        "--key",
        metavar="PATH",
        default=DEFAULT_KEY,
        help="file with this worker's key, made on first run (default: %(default)s)",
    )
    add("--ollama", metavar="URL", default=DEFAULT_OLLAMA, help="address of Ollama (default: %(default)s)")
    add(
        "--model", metavar="NAME", help="model for jobs that name none (default: the first that Ollama lists)"
    )
    add("--pair", metavar="CODE", help="pair this worker with the user who made the code, for PRIVATE jobs")
    add(
        "--payout-address",
        metavar="ADDRESS",
        help="where earnings are to be paid, on the coordinator's chain (default: they wait)",
    )
    add(
        "--slots",
        metavar="N",
        type=_slots,
        default=1,
        help=f"jobs at once, 1 to {MAX_SLOTS} (default: %(default)s)",
    )
    add(
        "--drain-seconds",
        metavar="N",
        type=_drain_seconds,
        default=DRAIN_LIMIT // 1000,
        help="how long to go on with running jobs when told to end (default: %(default)s)",
    )
    add("--log-level", choices=_LOG_LEVELS, default="info", help="how much to log (default: %(default)s)")
    return parser


def _address(text: str) -> str:
    """An address of either chain, as it was given; which chain it must be of only the coordinator knows."""
    chain = Chain.MONAD if text[:2].lower() == "0x" else Chain.SOLANA
    try:
        checked_address(chain, text)
    except AddressError as error:
        raise ConfigurationError(
            "--payout-address must be one on Monad, which is 0x and 40 hex digits, or on Solana, in base58."
            f" {error}"
        ) from None
    return text


def _slots(text: str) -> int:
    return _number(text, 1, MAX_SLOTS)


def _drain_seconds(text: str) -> int:
    return _number(text, 0, MAX_DRAIN_SECONDS)


def _number(text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}, not {text!r}")
    return int(text)
