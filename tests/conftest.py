"""Rules that hold for every test: no unexpected error log, no thread and no actor left behind."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import hypothesis
import pykka
import pytest

THREAD_GRACE_SECONDS = 5.0

# Derandomized: a gate that fails must fail again on the same commit. No deadline: shared machines stall.
hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=100
)
# For a longer search by hand: pytest --hypothesis-profile=search
hypothesis.settings.register_profile("search", deadline=None, print_blob=True, max_examples=5000)
# Fresh attacks of each run: make fuzz
hypothesis.settings.register_profile("fuzz", deadline=None, database=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile("ci")

_RECURSION_LIMIT = sys.getrecursionlimit()


class _ErrorRecords(logging.Handler):
    """Keeps the log records of level ERROR and above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a running actor or a thread that would keep the process alive."""
    threads_before = set(threading.enumerate())
    actors_before = {ref.actor_urn for ref in pykka.ActorRegistry.get_all()}
    yield
    actors = [ref for ref in pykka.ActorRegistry.get_all() if ref.actor_urn not in actors_before]
    for ref in actors:
        # Out of the registry, so that the next test is not blamed for it.
        pykka.ActorRegistry.unregister(ref)
        if issubclass(ref.actor_class, pykka.ThreadingActor):
            ref.stop(block=False)
    threads = [thread for thread in threading.enumerate() if thread not in threads_before]
    for thread in threads:
        if not thread.daemon:
            thread.join(THREAD_GRACE_SECONDS)
    running = [thread.name for thread in threads if thread.is_alive() and not thread.daemon]
    assert not actors, f"actors left running: {[str(ref) for ref in actors]}"
    assert not running, f"threads left running: {running}"


@pytest.fixture(autouse=True)
def _error_records() -> Iterator[_ErrorRecords]:
    handler = _ErrorRecords()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def _usual_recursion_limit() -> None:
    """py_ecc, which eth_account imports, raises the limit so far that deep JSON ends the process."""
    sys.setrecursionlimit(_RECURSION_LIMIT)


@pytest.fixture(autouse=True)
def _no_unexpected_error_logs(
    request: pytest.FixtureRequest, _error_records: _ErrorRecords
) -> Iterator[None]:
    """Fail a test that logs at ERROR or above, unless it asked for ``expected_errors``."""
    yield
    if "expected_errors" not in request.fixturenames:
        logged = [f"{record.name}: {record.getMessage()}" for record in _error_records.records]
        assert not logged, f"unexpected error logs: {logged}"


@pytest.fixture
def expected_errors(_error_records: _ErrorRecords) -> list[logging.LogRecord]:
    """The ERROR records of this test so far, which are then no failure; the test says what must be in it."""
    return _error_records.records
