"""``compute-router earnings``: what a worker earned and was paid."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.settings import URL_VARIABLE
from tests.fakes.http_coordinator import Answer, FakeCoordinator

PUBKEY = "ab" * 32
PATH = f"/v1/workers/{PUBKEY}/earnings"
PAYOUT = {
    "payout_id": "p1",
    "amount": 5_000,
    "address": "0xHome",
    "state": "settled",
    "transaction_ref": "0xabc\x1b[2J",
    "reason": None,
    "created_at": "2026-02-09T12:00:00.000Z",
}
EARNED = {
    "provider_pubkey": PUBKEY,
    "payout_address": "0xHome",
    "earned": 9_500,
    "paid_out": 5_000,
    "pending": 4_500,
    "under_way": 0,
    "payouts": [PAYOUT],
}
Capture = pytest.CaptureFixture[str]


def answer(status: int, value: object) -> Answer:
    return status, msgspec.json.encode(value)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCoordinator]:
    coordinator = FakeCoordinator()
    coordinator.overrides[PATH] = answer(200, EARNED)
    with coordinator.serving() as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        yield coordinator


def test_earnings_are_shown(served: FakeCoordinator, capsys: Capture) -> None:
    assert main(["earnings", PUBKEY.upper()]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.splitlines()[:4] == [
        "earned     $0.0095",
        "paid out   $0.005",
        "pending    $0.0045",
        "address    0xHome",
    ]
    assert "2026-02-09T12:00:00.000Z  $0.005  settled  0xabc" in out
    assert "\x1b" not in out


def test_earnings_are_shown_as_json_for_programs(served: FakeCoordinator, capsys: Capture) -> None:
    assert main(["earnings", PUBKEY, "--json"]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out) == EARNED


def test_a_worker_without_an_address_is_told_how_to_name_one(
    served: FakeCoordinator, capsys: Capture
) -> None:
    served.overrides[PATH] = answer(200, EARNED | {"payout_address": None})
    assert main(["earnings", PUBKEY]) == ExitCode.OK
    assert "--payout-address" in capsys.readouterr().out


def test_a_key_of_nobody_is_doubted(served: FakeCoordinator, capsys: Capture) -> None:
    nothing: dict[str, object] = {
        "payout_address": None,
        "earned": 0,
        "paid_out": 0,
        "pending": 0,
        "payouts": [],
    }
    served.overrides[PATH] = answer(200, EARNED | nothing)
    assert main(["earnings", PUBKEY]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "is this the key that the worker prints at its start?" in out
    assert "--payout-address" not in out


def test_what_is_no_key_is_refused_before_anything_is_asked(served: FakeCoordinator, capsys: Capture) -> None:
    assert main(["earnings", "../keys"]) == ExitCode.USAGE
    assert served.asked == []
