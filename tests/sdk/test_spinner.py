from __future__ import annotations

import io

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.cli_spinner import Spinner
from tests.fakes.http_coordinator import FakeClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_shows_the_state_and_the_time_since_the_start() -> None:
    clock = FakeClock()
    spinner = Spinner(Terminal(), clock)
    assert spinner.line().endswith(" submitting 0.0 s")
    clock.now += 2.25
    spinner.show(JobStatus.RUNNING)
    assert spinner.line().endswith(" running 2.2 s")


def test_consecutive_lines_differ_so_that_it_is_seen_to_turn() -> None:
    spinner = Spinner(Terminal(), FakeClock())
    assert spinner.line()[0] != spinner.line()[0]


def test_a_terminal_is_left_clean() -> None:
    terminal = Terminal()
    with Spinner(terminal, FakeClock()):
        pass
    assert "submitting" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with Spinner(file, FakeClock()) as spinner:
        spinner.show(JobStatus.PENDING)
        assert not spinner.active
    assert file.getvalue() == ""


def test_a_line_above_stays_and_cannot_steer_the_terminal() -> None:
    terminal = Terminal()
    with Spinner(terminal, FakeClock()) as spinner:
        spinner.above("the coordinator\x1b[2J is busy")
    assert "\r\x1b[2Kthe coordinator\N{REPLACEMENT CHARACTER}[2J is busy\n" in terminal.getvalue()
    file = io.StringIO()
    with Spinner(file, FakeClock()) as spinner:
        spinner.above("busy")
    assert file.getvalue() == "busy\n"


def test_a_line_that_cannot_be_written_ends_nothing() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    Spinner(Full(), FakeClock()).above("This is tried for up to 20 s.")
