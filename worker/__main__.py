"""``python -m compute_router.worker``: run a worker until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Final

import httpx
from nacl.signing import SigningKey

from compute_router.protocol.errors import ComputeRouterError, ConfigurationError
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.log_format import log_to_stderr
from compute_router.protocol.pairing import key_fingerprint
from compute_router.protocol.receipts import public_key_hex
from compute_router.worker.addresses import is_loopback
from compute_router.worker.key_lock import KeyLock
from compute_router.worker.pairing import claim_pairing
from compute_router.worker.settings import Settings, read_settings
from compute_router.worker.system import Ending, Notice, SignalCame, WorkerSystem

_PAIRING_SECONDS: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("compute_router.worker")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker. Returns the exit code: 0 stopped, 1 refused, 2 wrong settings.

    The first SIGTERM or SIGINT lets running jobs finish, the second ends the worker at once. Before there
    can be jobs, the first one does.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    with ExitStack() as until_the_end:
        try:
            settings = read_settings(sys.argv[1:] if argv is None else argv, os.environ)
            _set_up_logging(settings.log_level)
            key = load_or_create_key(settings.key)
            until_the_end.enter_context(KeyLock(settings.key))
            _log.info("This worker's key is %s (from %s).", public_key_hex(key), settings.key)
            if settings.pair is not None:
                _pair(settings, settings.pair, key)
        except ComputeRouterError as error:
            print(f"compute-router worker: {error}", file=sys.stderr)  # noqa: T201
            return 2 if isinstance(error, ConfigurationError) else 1
        return _run(settings, key)


def _set_up_logging(level: str) -> None:
    log_to_stderr(level, "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    # httpx logs every request as news.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _pair(settings: Settings, code: str, key: SigningKey) -> None:
    with httpx.Client(trust_env=not is_loopback(settings.coordinator), timeout=_PAIRING_SECONDS) as client:
        pairing = claim_pairing(client, settings.coordinator, code, key)
    pubkey = public_key_hex(key)
    _log.info(
        "Paired with the user %s. Compare there: this worker's key is %s, its fingerprint %s.",
        pairing.user_id,
        pubkey,
        key_fingerprint(pubkey),
    )


def _run(settings: Settings, key: SigningKey) -> int:
    # SimpleQueue.put may be called from a signal handler; an Event's set() may deadlock there.
    notices: SimpleQueue[Notice] = SimpleQueue()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: notices.put(SignalCame()))
    kind = settings.provider_type.value.lower()
    ollama = f", Ollama at {settings.ollama}" if settings.provider_type is ProviderType.DESKTOP else ""
    _log.info(
        "Starting as a %s worker with %d slot(s): coordinator at %s%s.",
        kind,
        settings.slots,
        settings.coordinator,
        ollama,
    )
    if settings.payout_address is not None:
        _log.info("Earnings are to be paid to %s.", settings.payout_address)
    system = WorkerSystem(settings, key, notices)
    system.start()
    ending = _wait_for_ending(system, notices)
    _log.log(logging.INFO if ending.exit_code == 0 else logging.ERROR, "%s", ending.reason)
    system.stop()
    return ending.exit_code


def _wait_for_ending(system: WorkerSystem, notices: SimpleQueue[Notice]) -> Ending:
    notice = notices.get()
    if isinstance(notice, SignalCame):
        system.drain()
        notice = notices.get()
    if isinstance(notice, SignalCame):
        return Ending(0, "A second signal came: leaving at once, whatever still runs.")
    return notice


if __name__ == "__main__":
    sys.exit(main())
