"""The commands ``trust create``, ``claim``, ``list``, ``pin``, ``unpin`` and ``revoke``."""

from __future__ import annotations

import argparse
import shlex

import msgspec

from compute_router.protocol.http_api import Provider
from compute_router.protocol.pairing import key_fingerprint
from compute_router.sdk.cli_client import open_asking_client, open_client
from compute_router.sdk.cli_output import print_json, printable, say
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.pairing import CODE_LIFETIME_S
from compute_router.sdk.trust_file import checked_pubkey


class _ListedWorker(msgspec.Struct, frozen=True):
    """One worker as ``trust list`` shows it. A pinned key that the coordinator does not list has no times."""

    provider_pubkey: str
    paired_at: str | None
    signed: bool
    pinned: bool
    fingerprint: str | None


def create(arguments: argparse.Namespace) -> ExitCode:
    """Make a pairing code and say what to do with it; with ``--wait``, pin the worker that uses it."""
    for option in ("fingerprint", "allow_unsigned"):
        if getattr(arguments, option) and not arguments.wait:
            named = f"--{option.replace('_', '-')}"
            raise InvalidArgumentError(f"{named} goes with --wait: without it no key is pinned.")
    with (open_client if arguments.wait else open_asking_client)(arguments) as router:
        code = router.create_pairing()
        if arguments.json:
            print_json({"pairing_code": code.pairing_code, "expires_at": code.expires_at})
        else:
            print(printable(code.pairing_code), flush=True)
            say(f"Valid once, until {code.expires_at}. On the machine that is to run your PRIVATE jobs:")
            address, word = shlex.quote(router.base_url), shlex.quote(code.pairing_code)
            say(f"  compute-router worker --coordinator {address} --pair {word}")
        if not arguments.wait:
            return ExitCode.OK
        timeout_s = CODE_LIFETIME_S if arguments.timeout is None else arguments.timeout
        worker = router.await_pairing(
            code,
            timeout_s=timeout_s,
            fingerprint=arguments.fingerprint,
            allow_unsigned=arguments.allow_unsigned,
        )
    fingerprint = key_fingerprint(worker.provider_pubkey)
    if arguments.json:
        print_json({"provider_pubkey": worker.provider_pubkey, "fingerprint": fingerprint, "pinned": True})
        return ExitCode.OK
    print(printable(worker.provider_pubkey), flush=True)
    say(f"Paired and pinned, fingerprint {fingerprint}.")
    if not worker.signed:
        say("WARNING: this key did not sign for the code; anybody who saw the code may have named it.")
    if arguments.fingerprint is None:
        say("Compare it with what the worker printed. If it differs: compute-router trust revoke PUBKEY")
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
    """Print the user's workers: those that the coordinator lists, and those pinned here that it does not."""
    with open_asking_client(arguments) as router:
        workers = _together(router.list_providers(), router.pinned_providers())
    if arguments.json:
        print_json({"providers": workers})
        return ExitCode.OK
    for worker in workers:
        print(_line(worker))
    if not workers:
        say("No worker is paired with this user.")
    elif not all(worker.pinned for worker in workers):
        say(
            "Sealed jobs go to pinned workers. Compare the fingerprint, then: compute-router trust pin PUBKEY"
        )
    return ExitCode.OK


def pin(arguments: argparse.Namespace) -> ExitCode:
    """Pin a worker key."""
    key = checked_pubkey(arguments.provider_pubkey)
    with open_asking_client(arguments) as router:
        router.pin_provider(key)
    document = {"provider_pubkey": key, "pinned": True}
    return _done(arguments, document, f"pinned, fingerprint {key_fingerprint(key)}")


def unpin(arguments: argparse.Namespace) -> ExitCode:
    """Pin a worker key no more."""
    key = checked_pubkey(arguments.provider_pubkey)
    with open_asking_client(arguments) as router:
        was_pinned = router.unpin_provider(key)
    sentence = "no longer pinned; the pairing stays" if was_pinned else "it was not pinned"
    return _done(arguments, {"provider_pubkey": key, "pinned": False}, sentence)


def revoke(arguments: argparse.Namespace) -> ExitCode:
    """Unpin a worker key and end its pairing."""
    with open_asking_client(arguments) as router:
        answer = router.revoke_provider(arguments.provider_pubkey)
    return _done(arguments, answer, f"revoked at {printable(answer.revoked_at)}")


def _done(arguments: argparse.Namespace, document: object, sentence: str) -> ExitCode:
    if arguments.json:
        print_json(document)
    else:
        print(sentence)
    return ExitCode.OK


def _together(listed: list[Provider], pinned: tuple[str, ...]) -> list[_ListedWorker]:
    workers = [
        _ListedWorker(
            each.provider_pubkey,
            each.paired_at,
            each.signed,
            each.provider_pubkey in pinned,
            _fingerprint(each.provider_pubkey),
        )
        for each in listed
    ]
    known = {worker.provider_pubkey for worker in workers}
    return workers + [
        _ListedWorker(key, None, False, True, _fingerprint(key)) for key in pinned if key not in known
    ]


def _fingerprint(pubkey: str) -> str | None:
    """None when the coordinator lists what is no key."""
    try:
        return key_fingerprint(pubkey)
    except ValueError:
        return None


def _line(worker: _ListedWorker) -> str:
    paired = "NOT PAIRED" if worker.paired_at is None else f"paired {worker.paired_at}"
    facts = [
        worker.provider_pubkey,
        f"fingerprint {worker.fingerprint or 'unknown'}",
        paired,
        "signed" if worker.signed else "not signed",
        "pinned" if worker.pinned else "NOT PINNED",
    ]
    return printable("  ".join(facts))
