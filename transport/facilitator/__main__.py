"""Start one facilitator: ``python -m compute_router.transport.facilitator --chain monad --key PATH``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, DatabaseInUseError
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.networks import NETWORKS
from compute_router.protocol.payment_packages import payment_packages
from compute_router.storage.settlement_book import SettlementBook
from compute_router.transport.facilitator.admission import Admission
from compute_router.transport.facilitator.parent import end_with_parent
from compute_router.transport.facilitator.settings import Settings, reached_from_here_only, read_settings

logger = logging.getLogger("compute_router.facilitator")

_BOOK_PAUSE_SECONDS: Final = 0.1
_BOOK_PATIENCE_SECONDS: Final = 30.0
"""How long a facilitator of a coordinator waits for the book: the one before it may still be ending."""


async def serve(settings: Settings) -> None:
    """Answer until the process is told to stop.

    Raises:
        ConfigurationError: it cannot start with these settings.
    """
    # These take a second to import; a wrong flag or key file should be told at once.
    key = read_chain_key(settings.key, settings.chain)
    with payment_packages():
        from compute_router.transport.facilitator.chain_sides import open_chain_side
        from compute_router.transport.facilitator.server import FacilitatorServer
        from compute_router.transport.facilitator.settling import Settling

    book = await _open_book(settings.db, 0.0 if settings.secret is None else _BOOK_PATIENCE_SECONDS)
    try:
        with payment_packages():
            side = open_chain_side(
                settings.chain, key, settings.rpc_url, confirm_seconds=settings.confirm / 1000
            )
    except ValueError:
        book.close()
        raise ConfigurationError(f"The key file {settings.key} holds no usable key.") from None
    except ConfigurationError:
        book.close()
        raise
    admission = Admission(
        settings.chain, pay_to=settings.pay_to, least=settings.least, secret=settings.secret
    )
    server = FacilitatorServer(settings.chain, side, Settling(side, book), admission)
    # Before anybody is told that it runs, for whoever hears of it may end it at once.
    told_to_stop = _stop_signal()
    try:
        port = server.listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        label = NETWORKS[settings.chain].label
        print(f"{label} facilitator listening on http://{host}:{port}", flush=True)
        print(f"  pays fees as {side.address}, asks {urlsplit(settings.rpc_url).hostname}", flush=True)
        print(f"  {_whom(settings)}", flush=True)
        await server.problem()  # which writes what it finds to the log
        await told_to_stop.wait()
        logger.info("stopping: settlements under way are brought to an end")
        await server.stop()
    finally:
        side.close()
        book.close()


async def _open_book(path: Path, patience: float) -> SettlementBook:
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            return SettlementBook(path)
        except DatabaseInUseError:
            if time.monotonic() >= deadline:
                raise
        if not told:
            logger.warning("waiting for the facilitator that uses %s to end", path)
            told = True
        await asyncio.sleep(_BOOK_PAUSE_SECONDS)


def _stop_signal() -> asyncio.Event:
    """Set as soon as the process is told to stop."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


def _whom(settings: Settings) -> str:
    if settings.secret is not None:
        return "settles for the coordinator that started it"
    if settings.pay_to:
        return f"settles payments to {', '.join(settings.pay_to)}"
    if reached_from_here_only(settings.host):
        return "settles payments to anybody, for every program of this machine; --pay-to ADDRESS says to whom"
    return "settles payments to anybody, for everybody who reaches it"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    settings = read_settings(sys.argv[1:] if argv is None else argv, os.environ)
    log_to_stderr(settings.log_level, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Requests to the node, whose URL may hold an API key, are nobody's business.
    for chatty in ("httpx", "httpx2", "httpcore", "urllib3", "web3", "solana"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if settings.secret is not None:
        threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    try:
        asyncio.run(serve(settings))
    except ComputeRouterError as error:
        print(f"compute-router facilitator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
