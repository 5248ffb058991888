"""The commands ``keys create``, ``keys list`` and ``keys revoke``."""

from __future__ import annotations

import argparse

from compute_router.protocol.api_keys import KeyInfo
from compute_router.sdk.api_keys import KeyLimits, checked_key_request
from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable, say
from compute_router.sdk.cli_processes import STORAGE_MODULE, become
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.exit_codes import ExitCode

_LIMITS = ("jobs_per_minute", "jobs_at_once", "jobs_per_day")


def create(arguments: argparse.Namespace) -> ExitCode:
    """Make a key and print it, alone on standard output, for the only time."""
    limits = KeyLimits(**{name: getattr(arguments, name) for name in _LIMITS})
    checked_key_request(arguments.scope, arguments.user, arguments.name, limits)
    if arguments.db is not None:
        _create_in_database(arguments)
    with open_asking_client(arguments) as router:
        made = router.create_api_key(
            scope=arguments.scope, user_id=arguments.user, name=arguments.name, limits=limits
        )
    if arguments.json:
        print_json(made)
        return ExitCode.OK
    print(printable(made.key), flush=True)
    say(f"Key {made.key_id}. It is shown this once and kept nowhere: store it now.")
    return ExitCode.OK


def list_keys(arguments: argparse.Namespace) -> ExitCode:
    """Print all keys, one a line."""
    with open_asking_client(arguments) as router:
        keys = router.list_api_keys()
    if arguments.json:
        print_json({"keys": keys})
        return ExitCode.OK
    for key in keys:
        print(printable(_line(key)))
    return ExitCode.OK


def revoke(arguments: argparse.Namespace) -> ExitCode:
    """Revoke a key."""
    with open_asking_client(arguments) as router:
        revoked = router.revoke_api_key(arguments.key_id)
    if arguments.json:
        print_json(revoked)
    else:
        print(f"{printable(revoked.key_id)} revoked at {printable(revoked.revoked_at)}")
    return ExitCode.OK


def _create_in_database(arguments: argparse.Namespace) -> None:
    others = (arguments.url, arguments.chain, arguments.api_key_file, arguments.timeout)
    if arguments.json or any(value is not None for value in others):
        raise InvalidArgumentError("--db writes to a database without a coordinator: give it alone.")
    options = {
        "db": arguments.db,
        "scope": arguments.scope,
        "user": arguments.user,
        "name": arguments.name,
        **{name.replace("_", "-"): getattr(arguments, name) for name in _LIMITS},
    }
    # In one word each, because a value may begin with a hyphen.
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    become(STORAGE_MODULE, ["create-key", *words])


def _line(key: KeyInfo) -> str:
    limits = [f"{name} {value}" for name in _LIMITS if (value := getattr(key, name)) is not None]
    facts = [
        key.key_id,
        key.scope.value,
        *([key.user_id] if key.user_id is not None else []),
        *([f'"{key.name}"'] if key.name else []),
        *limits,
        f"made {key.created_at}",
        *([f"REVOKED {key.revoked_at}"] if key.revoked_at is not None else []),
    ]
    return "  ".join(facts)
