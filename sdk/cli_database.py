"""The commands ``backup``, ``check-db`` and ``workers``, which the storage program carries out."""

from __future__ import annotations

import argparse

from compute_router.sdk.cli_processes import STORAGE_MODULE, become
from compute_router.sdk.exit_codes import ExitCode


def backup(arguments: argparse.Namespace) -> ExitCode:
    """Become the program that copies a database."""
    become(STORAGE_MODULE, ["backup", "--db", arguments.db, arguments.destination])


def check_db(arguments: argparse.Namespace) -> ExitCode:
    """Become the program that checks a database."""
    become(STORAGE_MODULE, ["check", "--db", arguments.db])


def workers(arguments: argparse.Namespace) -> ExitCode:
    """Become the program that shows the records of worker keys, and lifts bars."""
    pubkey = [] if arguments.pubkey is None else [arguments.pubkey]
    become(STORAGE_MODULE, ["workers", "--db", arguments.db, arguments.action, *pubkey])
