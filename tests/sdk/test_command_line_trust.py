"""The commands about pairing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pairing import key_fingerprint
from compute_router.sdk import cli_client
from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.pairing import PairingCode
from compute_router.sdk.sync_client import ComputeRouter
from compute_router.sdk.trust_file import TrustFile
from tests.fakes.pairing_coordinator import PAIRED_AT, PairingCoordinator

NETWORK = NETWORKS[Chain.SOLANA].caip2
A, B = "a" * 64, "b" * 64

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> PairingCoordinator:
    """A coordinator that every client of the command line talks to, on its own clock."""
    coordinator = PairingCoordinator()

    def connected(*args: Any, **options: Any) -> ComputeRouter:
        return ComputeRouter(
            *args,
            **options,
            transport=coordinator.transport(),
            clock=coordinator.clock,
            sleep=coordinator.clock.sleep,
        )

    monkeypatch.setattr(cli_client, "ComputeRouter", connected)
    monkeypatch.setenv("COMPUTE_ROUTER_USER_ID", "alice")
    monkeypatch.setenv("COMPUTE_ROUTER_URL", "http://coordinator.example")
    return coordinator


def output_of(capsys: Capture) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_create_keeps_the_token_and_shows_it_nowhere(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    assert main(["trust", "create"]) == ExitCode.OK
    assert main(["trust", "create", "--json"]) == ExitCode.OK
    captured = capsys.readouterr()
    code, document = captured.out.splitlines()
    assert code == "CODE0"
    assert json.loads(document) == {"pairing_code": "CODE1", "expires_at": PAIRED_AT}
    token = TrustFile(trust_path).token(NETWORK, "alice", "http://coordinator.example")
    assert token is not None
    assert token not in captured.out + captured.err


def test_create_and_wait_pins_the_worker_and_says_what_to_compare(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    coordinator.comes[3] = A
    assert main(["trust", "create", "--wait"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["CODE0", A]
    assert f"fingerprint {key_fingerprint(A)}." in captured.err
    assert "Compare it" in captured.err
    assert TrustFile(trust_path).pinned(NETWORK, "alice") == (A,)


def test_create_and_wait_gives_programs_one_line_for_each_step(
    coordinator: PairingCoordinator, capsys: Capture
) -> None:
    coordinator.comes[2] = A
    assert main(["trust", "create", "--wait", "--json", "--fingerprint", key_fingerprint(A)]) == ExitCode.OK
    code, worker = output_of(capsys)
    assert code["pairing_code"] == "CODE0"
    assert worker == {"provider_pubkey": A, "fingerprint": key_fingerprint(A), "pinned": True}


def test_create_and_wait_pins_an_unsigned_key_only_when_asked_to_and_warns(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    coordinator.comes, coordinator.signed = {2: A, 4: B}, False
    assert main(["trust", "create", "--wait"]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert f"trust pin {A}" in captured.err
    assert "--allow-unsigned" in captured.err
    assert TrustFile(trust_path).pinned(NETWORK, "alice") == ()
    assert main(["trust", "create", "--wait", "--allow-unsigned"]) == ExitCode.OK
    assert "WARNING" in capsys.readouterr().err
    assert TrustFile(trust_path).pinned(NETWORK, "alice") == (B,)


@pytest.mark.parametrize("option", [["--fingerprint", "ab cd"], ["--allow-unsigned"]])
def test_what_only_waiting_could_check_is_not_taken_without_waiting(
    coordinator: PairingCoordinator, option: list[str], capsys: Capture
) -> None:
    assert main(["trust", "create", *option]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{option[0]} goes with --wait" in captured.err


def test_a_code_that_is_a_command_of_the_shell_is_quoted_where_it_would_be_pasted(
    coordinator: PairingCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def create(_self: ComputeRouter) -> PairingCode:
        return PairingCode("x; rm -rf .", PAIRED_AT, ())

    monkeypatch.setattr(ComputeRouter, "create_pairing", create)
    assert main(["trust", "create"]) == ExitCode.OK
    assert "--pair 'x; rm -rf .'" in capsys.readouterr().err


def test_waiting_in_vain_is_exit_code_4(coordinator: PairingCoordinator, capsys: Capture) -> None:
    assert main(["trust", "create", "--wait", "--timeout", "3"]) == ExitCode.TIMEOUT
    assert "No new worker used the pairing code within 3 s." in capsys.readouterr().err


def test_a_worker_with_another_fingerprint_is_exit_code_1_and_not_pinned(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    coordinator.comes[2] = A
    assert main(["trust", "create", "--wait", "--fingerprint", key_fingerprint(B)]) == ExitCode.FAILED
    assert "trust revoke" in capsys.readouterr().err
    assert TrustFile(trust_path).pinned(NETWORK, "alice") == ()


def test_a_user_owned_elsewhere_is_exit_code_1_and_says_what_to_do(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    coordinator.owners["alice"] = "crt_elsewhere"
    assert main(["trust", "create"]) == ExitCode.FAILED
    assert str(trust_path) in capsys.readouterr().err
    assert main(["trust", "create", "--json"]) == ExitCode.FAILED
    (document,) = output_of(capsys)
    assert document["error"] == "token_missing"


def test_list_shows_what_is_signed_and_pinned_and_what_is_pinned_alone(
    coordinator: PairingCoordinator, capsys: Capture
) -> None:
    coordinator.listed["alice"] = [A]
    assert main(["trust", "pin", B]) == ExitCode.OK
    assert capsys.readouterr().out == f"pinned, fingerprint {key_fingerprint(B)}\n"
    assert main(["trust", "list"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        f"{A}  fingerprint {key_fingerprint(A)}  paired {PAIRED_AT}  signed  NOT PINNED",
        f"{B}  fingerprint {key_fingerprint(B)}  NOT PAIRED  not signed  pinned",
    ]
    assert main(["trust", "list", "--json"]) == ExitCode.OK
    (document,) = output_of(capsys)
    assert document == {
        "providers": [
            {
                "provider_pubkey": A,
                "paired_at": PAIRED_AT,
                "signed": True,
                "pinned": False,
                "fingerprint": key_fingerprint(A),
            },
            {
                "provider_pubkey": B,
                "paired_at": None,
                "signed": False,
                "pinned": True,
                "fingerprint": key_fingerprint(B),
            },
        ]
    }


def test_unpin_and_revoke(coordinator: PairingCoordinator, trust_path: Path, capsys: Capture) -> None:
    coordinator.comes[2] = A
    assert main(["trust", "create", "--wait"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["trust", "unpin", A]) == ExitCode.OK
    assert main(["trust", "unpin", A]) == ExitCode.OK
    assert capsys.readouterr().out == "no longer pinned; the pairing stays\nit was not pinned\n"
    assert main(["trust", "revoke", A, "--json"]) == ExitCode.OK
    assert output_of(capsys) == [{"user_id": "alice", "provider_pubkey": A, "revoked_at": PAIRED_AT}]
    assert main(["trust", "revoke", A]) == ExitCode.FAILED


@pytest.mark.parametrize("action", ["pin", "unpin", "revoke"])
def test_what_is_no_key_is_exit_code_2(coordinator: PairingCoordinator, action: str, capsys: Capture) -> None:
    assert main(["trust", action, "abc"]) == ExitCode.USAGE
    assert "64 hex digits" in capsys.readouterr().err
    assert coordinator.asked == []


def test_the_trust_file_can_be_named(
    coordinator: PairingCoordinator, tmp_path: Path, trust_path: Path
) -> None:
    mine = tmp_path / "mine.json"
    assert main(["trust", "pin", A, "--trust-file", str(mine)]) == ExitCode.OK
    assert TrustFile(mine).pinned(NETWORK, "alice") == (A,)
    assert not trust_path.exists()


def test_a_trust_file_open_to_others_is_exit_code_1_with_the_command_that_mends_it(
    coordinator: PairingCoordinator, trust_path: Path, capsys: Capture
) -> None:
    TrustFile(trust_path).pin(NETWORK, "alice", A)
    trust_path.chmod(0o640)
    assert main(["trust", "create"]) == ExitCode.FAILED
    assert f"chmod 600 {trust_path}" in capsys.readouterr().err
    assert [request for request in coordinator.asked if request.method != "GET"] == []
