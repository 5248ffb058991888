"""Care of a coordinator's database: ``python -m compute_router.storage COMMAND --db FILE``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyRequest, KeyScope, key_id_of
from compute_router.protocol.errors import ComputeRouterError, ConfigurationError, StorageUnavailableError
from compute_router.protocol.units import UnixMs
from compute_router.storage.backup import back_up
from compute_router.storage.check import Counts, count, problems
from compute_router.storage.faults import FAULTS, unavailable
from compute_router.storage.new_key import make_api_key
from compute_router.storage.reading import open_for_reading
from compute_router.storage.worker_commands import describe, find_worker, list_workers, unbar_worker

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_UNREADABLE: Final = 2
EXIT_INTERRUPTED: Final = 130

_RECEIPTS_BETWEEN_NEWS: Final = 1_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done, or sound. 1: the backup failed, or the check found problems. 2: there is nothing that can be
    read, or the words on the command line are wrong.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compute_router.storage", description="Care of a coordinator's database."
    )
    commands = parser.add_subparsers(required=True)
    backup = commands.add_parser("backup", help="copy a database, also while a coordinator uses it")
    backup.set_defaults(run=_back_up)
    check = commands.add_parser("check", help="look for damage and contradictions in a database or a backup")
    check.set_defaults(run=_check)
    create_key = commands.add_parser(
        "create-key", help="make an API key in the database of a coordinator that is stopped"
    )
    create_key.set_defaults(run=_create_key)
    create_key.add_argument("--scope", choices=[scope.value for scope in KeyScope], required=True)
    create_key.add_argument("--user", dest="user_id", metavar="ID", help="the user of a user key")
    create_key.add_argument("--name", default="", help="what to recognise the key by")
    for limit in ("--jobs-per-minute", "--jobs-at-once", "--jobs-per-day"):
        create_key.add_argument(limit, type=int, metavar="N", help="limit of a user key")
    workers = commands.add_parser("workers", help="records of worker keys: list them, show one, lift a bar")
    workers.set_defaults(run=_workers)
    workers.add_argument("action", choices=["list", "show", "unbar"])
    workers.add_argument("pubkey", nargs="?", metavar="PUBKEY", help="the key to show or unbar")
    for command in (backup, check, create_key, workers):
        command.add_argument(
            "--db", type=Path, required=True, metavar="FILE", help="the coordinator's database"
        )
    backup.add_argument("destination", type=Path, metavar="DEST", help="the new file; it must not exist")
    return parser


def _back_up(arguments: argparse.Namespace) -> int:
    news = _News("copied")
    try:
        back_up(arguments.db, arguments.destination, news.tell)
    except ComputeRouterError as error:
        news.end()
        _say(str(error))
        return EXIT_UNREADABLE if isinstance(error, ConfigurationError) else EXIT_FAILED
    news.end()
    size = arguments.destination.stat().st_size
    _print(f"{arguments.destination} is a copy of {arguments.db} ({size:,} bytes).")
    return EXIT_OK


def _check(arguments: argparse.Namespace) -> int:
    news = _News("of the receipts checked")
    found = 0
    try:
        with closing(open_for_reading(arguments.db)) as connection:
            for problem in problems(connection, news.tell_of_receipts):
                found += 1
                news.end()
                _print(problem)
            news.end()
            if found == 0:
                counts = count(connection)
                _print(
                    f"{arguments.db} is sound: {counts.jobs} jobs ({counts.unfinished} unfinished), "
                    f"{counts.receipts} receipts{_about_money(counts)}."
                )
    except (ConfigurationError, StorageUnavailableError) as error:
        _say(str(error))
        return EXIT_UNREADABLE
    except FAULTS as error:
        _say(str(unavailable(error)))
        return EXIT_UNREADABLE
    if found:
        _print(f"{arguments.db} has {found} problem{'' if found == 1 else 's'}.")
    return EXIT_FAILED if found else EXIT_OK


def _about_money(counts: Counts) -> str:
    if counts.payments is None:
        return ""
    return f", {counts.payments} payments; the ledger's sum is zero"


def _create_key(arguments: argparse.Namespace) -> int:
    fields = {name: getattr(arguments, name) for name in KeyRequest.__struct_fields__}
    try:
        wanted = msgspec.convert(fields, KeyRequest)
    except msgspec.ValidationError as error:
        _say(f"there cannot be such a key: {error}.")
        return EXIT_UNREADABLE
    try:
        api_key = make_api_key(arguments.db, wanted, UnixMs(time.time_ns() // 1_000_000))
    except ComputeRouterError as error:
        _say(str(error))
        return EXIT_UNREADABLE if isinstance(error, ConfigurationError) else EXIT_FAILED
    _print(api_key)
    _say(f"key {key_id_of(api_key)} is shown this once and kept nowhere: store it now.")
    return EXIT_OK


def _workers(arguments: argparse.Namespace) -> int:
    if (arguments.action == "list") != (arguments.pubkey is None):
        _say("list takes no key; show and unbar take one")
        return EXIT_UNREADABLE
    try:
        return _run_on_workers(arguments.action, arguments.db, arguments.pubkey)
    except (ConfigurationError, StorageUnavailableError) as error:
        _say(str(error))
        return EXIT_UNREADABLE


def _run_on_workers(action: str, database: Path, pubkey: str) -> int:
    if action == "list":
        for record in list_workers(database):
            _print(describe(record))
        return EXIT_OK
    if action == "unbar":
        unbarred = unbar_worker(database, pubkey)
        _say(f"{pubkey} may take part again" if unbarred else f"{pubkey} is not barred")
        return EXIT_OK if unbarred else EXIT_FAILED
    found = find_worker(database, pubkey)
    if found is None:
        _say(f"{pubkey} has no record")
        return EXIT_FAILED
    _print(describe(found))
    return EXIT_OK


class _News:
    """One line on a terminal that says how far the work is; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._shown = ""

    def tell(self, share: float) -> None:
        text = f"{share:4.0%} {self._what}"
        if self._terminal and text != self._shown:
            sys.stderr.write(f"\r{text}")
            sys.stderr.flush()
            self._shown = text

    def tell_of_receipts(self, number: int, total: int) -> None:
        if number % _RECEIPTS_BETWEEN_NEWS == 0:
            self.tell(number / total)

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            self._shown = ""


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say(line: str) -> None:
    sys.stderr.write(f"compute-router: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
