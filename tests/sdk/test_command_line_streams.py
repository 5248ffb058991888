"""Standard input and output that are closed, full, or of another encoding than what goes through them."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import FakeCoordinator, completed

TEXT = '{"text":"caf\u00e9 \u2026","model":"tiny"}'.encode()

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator([completed(TEXT)])


@pytest.fixture(autouse=True)
def _environment(coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        # As users have it: what is printed may go out as late as at the end.
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        yield


def in_shell(words: str) -> subprocess.CompletedProcess[str]:
    """``compute-router`` with redirections of a shell."""
    command = f"{shlex.quote(sys.executable)} -m compute_router.sdk {words}"
    return subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("words", [["run", "llm", "-"], ["run", "task", "summarize", "-"]])
def test_input_that_is_no_text_is_a_wrong_command_line(
    words: list[str], coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), "utf-8"))
    assert main(words) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("compute-router: Standard input cannot be read: ")
    assert coordinator.asked == []


@pytest.mark.parametrize("words", [["run", "llm", "-"], ["verify", "-"]])
def test_a_closed_input_is_a_wrong_command_line(
    words: list[str], coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(words) == ExitCode.USAGE
    assert "Standard input cannot be read: it is closed." in capsys.readouterr().err
    assert coordinator.asked == []


def test_characters_that_the_terminal_does_not_have_are_shown_as_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "latin-1"))
    assert main(["run", "llm", "hello"]) == ExitCode.OK
    assert shown.getvalue() == b"caf\xe9 \\u2026\n"


def test_a_closed_error_output_keeps_no_job_from_running_and_nothing_else_goes_to_the_result(
    coordinator: FakeCoordinator,
) -> None:
    ended = in_shell("run llm hello 2>&-")
    assert (ended.returncode, ended.stdout) == (ExitCode.OK, "caf\u00e9 \u2026\n")
    assert len(coordinator.committed) == 1


@pytest.mark.parametrize("words", ["health", "health --json"])
def test_a_closed_output_is_no_error(words: str) -> None:
    ended = in_shell(f"{words} >&-")
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, "")


@pytest.mark.parametrize("words", ["health", "health --json"])
def test_an_output_that_is_full_is_one_sentence_and_exit_code_1(words: str) -> None:
    ended = in_shell(f"{words} >/dev/full")
    assert ended.returncode == ExitCode.FAILED
    [sentence] = ended.stderr.splitlines()
    assert sentence.startswith("compute-router: ")
    assert "No space left on device" in sentence


@pytest.mark.parametrize("words", ["health", "health --json"])
def test_a_reader_that_went_away_is_exit_code_1_without_a_word(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "compute_router.sdk", *words.split()]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (ExitCode.FAILED, "")
