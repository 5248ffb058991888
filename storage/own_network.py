"""The chain that a database belongs to: its payments, credits and earnings are money of that chain alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, chain_of
from compute_router.protocol.payments import CREDIT_NETWORK
from compute_router.storage.session import Session

_KNOWN: Final = "SELECT caip2 FROM network"
_PAID_ON: Final = "SELECT network FROM payments WHERE network <> ?1 LIMIT 1"
_KEEP: Final = "INSERT INTO network (id, caip2) VALUES (1, ?1)"


def hold_to_network(session: Session, database: Path, network: str) -> None:
    """See to it that a database is of this network. One that was of none so far is of this one from now on.

    ``network`` is a CAIP-2 id.

    Raises:
        ConfigurationError: it belongs to another.
        StorageUnavailableError: the disk failed.
    """
    known: str | None = session.read(_KNOWN)
    # One that is older than the rule may hold money nevertheless.
    belongs = known or session.read(_PAID_ON, (CREDIT_NETWORK,)) or network
    if belongs != network:
        raise ConfigurationError(
            f"{database} belongs to {_named(belongs)}, and this coordinator would serve {_named(network)}. "
            "Choose another database path: each chain has its own."
        )
    if known is None:
        with session:
            session.change(_KEEP, (network,))


def _named(caip2: str) -> str:
    try:
        return f"{NETWORKS[chain_of(caip2)].label} ({caip2})"
    except KeyError:
        return caip2
