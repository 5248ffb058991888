"""What logs say about errors, and what they must not quote."""

from __future__ import annotations

import io
import logging
import sys

import apsw
import pytest

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.log_format import QuotelessFormatter, describe, place

SECRET = "tangerine dream"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyError(SECRET), "KeyError"),
        (ValueError(f"invalid literal: {SECRET}"), "ValueError"),
        (UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET), "UnicodeEncodeError"),
        (OSError(28, "No space left on device", SECRET), "OSError: No space left on device"),
        (OSError(SECRET), "OSError"),
        (StorageUnavailableError("The disk is full."), "StorageUnavailableError: The disk is full."),
        (apsw.FullError("database or disk is full"), "apsw.FullError: database or disk is full"),
    ],
)
def test_an_error_is_described_without_the_data_that_caused_it(error: Exception, sentence: str) -> None:
    assert describe(error).endswith(sentence)
    assert SECRET not in describe(error)


def fail(text: str) -> None:
    try:
        dict[str, int]()[text]
    except KeyError as error:
        raise ValueError(text) from error


def logged_failure() -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(QuotelessFormatter("%(levelname)s %(message)s"))
    try:
        fail(SECRET)
    except ValueError:
        record = logging.LogRecord("test", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    handler.handle(record)
    return stream.getvalue()


def test_a_logged_exception_tells_its_place_and_cause_and_quotes_nothing() -> None:
    text = logged_failure()
    assert text.startswith("ERROR it failed\nTraceback (most recent call last):\n")
    assert "in fail\n" in text
    assert text.rstrip().endswith("KeyError")
    assert "ValueError\n\nwhich came of this:" in text
    assert SECRET not in text


def test_errors_that_caused_each_other_in_a_circle_are_told_once() -> None:
    one, two = ValueError("1"), KeyError("2")
    one.__cause__, two.__cause__ = two, one
    assert place(one).count("Traceback") == 2
