"""What the commands about receipts and jobs say of a job's payment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from compute_router.protocol.networks import Chain
from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import JOB_ID, Answer, FakeCoordinator, completed
from tests.fakes.till import paid_answer
from tests.sdk.test_verify_command import EVERYTHING, OUTPUT, REQUEST, document

Capture = pytest.CaptureFixture[str]


def paid_document() -> bytes:
    """A receipt's document as that of a job that was paid for."""
    return document()[:-1] + b',"payment_ref":"0xfeed"}'


def settled_answer() -> Answer:
    status, text = paid_answer(completed(OUTPUT), chain=Chain.MONAD)
    return status, text[:-1] + b',"payment_ref":"0xfeed"}'


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture(autouse=True)
def _environment(
    coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("paid.json").write_bytes(paid_document())
    Path("output.json").write_bytes(OUTPUT)
    Path("request.json").write_bytes(REQUEST)
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        yield


def test_a_receipt_that_names_its_payment_is_as_good_as_before_and_says_it(capsys: Capture) -> None:
    assert main(["verify", "paid.json", *EVERYTHING]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.count("  ok  ") == 10
    assert "paid by 0xfeed, says the coordinator" in text


def test_programs_are_told_the_payment_of_a_receipt(capsys: Capture) -> None:
    assert main(["verify", "paid.json", "--json"]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out)["payment_ref"] == "0xfeed"
    Path("free.json").write_bytes(document())
    assert main(["verify", "free.json", "--json"]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out)["payment_ref"] is None


def test_the_answer_of_a_paid_job_says_its_payment_when_it_is_verified(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [settled_answer()]
    assert main(["verify", JOB_ID]) == ExitCode.OK
    assert "paid by 0xfeed" in capsys.readouterr().out


def test_receipt_hands_the_payment_out_with_the_rest(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides[f"/v1/receipts/{JOB_ID}"] = (200, paid_document())
    assert main(["receipt", JOB_ID]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out)["payment_ref"] == "0xfeed"


def test_status_says_where_the_payment_stands(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [settled_answer()]
    assert main(["status", JOB_ID]) == ExitCode.OK
    assert "payment    $0.001 settled on eip155:10143 by 0xfeed" in capsys.readouterr().out


def test_a_text_in_place_of_a_transaction_cannot_write_on_the_terminal(capsys: Capture) -> None:
    Path("evil.json").write_bytes(document()[:-1] + b',"payment_ref":"\\u001b[2J"}')
    assert main(["verify", "evil.json"]) == ExitCode.OK
    assert "\x1b" not in capsys.readouterr().out
