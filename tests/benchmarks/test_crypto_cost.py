"""The table of what signatures, checks and seals cost."""

from __future__ import annotations

import pytest

from benchmarks.measures import crypto_cost


def test_every_operation_that_is_timed_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # A check that fails raises, and so ends the measure.
    monkeypatch.setattr(crypto_cost, "_CALLS", 1)
    monkeypatch.setattr(crypto_cost, "_REPEATS", 1)
    names = [figure.name for figure in crypto_cost.crypto_cost()]
    assert len(names) == len(set(names)) == 17
    assert f"one payload of {crypto_cost.PAYLOAD_BYTES} bytes sealed for one worker" in names
