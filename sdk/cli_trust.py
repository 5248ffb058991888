"""The commands ``trust create``, ``trust claim`` and ``trust list``."""

from __future__ import annotations

import argparse

from compute_router.sdk.cli_client import open_asking_client
from compute_router.sdk.cli_output import print_json, printable, say
from compute_router.sdk.exit_codes import ExitCode


def create(arguments: argparse.Namespace) -> ExitCode:
    """Make a pairing code and say what to do with it."""
    with open_asking_client(arguments) as router:
        pairing = router.create_pairing()
        url = router.base_url
    if arguments.json:
        print_json(pairing)
        return ExitCode.OK
    print(printable(pairing.pairing_code), flush=True)
    say(f"Valid once, until {pairing.expires_at}. On the machine that is to run your PRIVATE jobs:")
    say(f"  compute-router worker --coordinator {url} --pair {pairing.pairing_code}")
    return ExitCode.OK


def claim(arguments: argparse.Namespace) -> ExitCode:
    """Pair a worker by its public key."""
    with open_asking_client(arguments) as router:
        pairing = router.claim_pairing(arguments.pairing_code, arguments.provider_pubkey)
    if arguments.json:
        print_json(pairing)
    else:
        print(f"paired with {printable(pairing.user_id)} at {printable(pairing.paired_at)}")
    return ExitCode.OK


def list_providers(arguments: argparse.Namespace) -> ExitCode:
    """Print the user's workers."""
    with open_asking_client(arguments) as router:
        providers = router.list_providers()
    if arguments.json:
        print_json({"providers": providers})
        return ExitCode.OK
    for provider in providers:
        print(f"{printable(provider.provider_pubkey)}  paired {printable(provider.paired_at)}")
    if not providers:
        say("No worker is paired with this user.")
    return ExitCode.OK
