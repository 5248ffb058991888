"""Standard input and output as a command may find them: closed, full, or of an encoding with few letters."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from compute_router.sdk.errors import InvalidArgumentError


def prepare_output() -> None:
    """See to it that everything can be printed.

    What goes to a stream that was closed before the program began is lost. Characters that the encoding of
    standard output does not have are written as escapes, as they are on the other stream anyway.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Open until the program ends.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Forget what is still to be written, or Python would try again at exit and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def read_input_text() -> str:
    """All of standard input.

    Raises:
        InvalidArgumentError: it is closed, cannot be read, or is no text.
    """
    try:
        return _standard_input().read()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(str(error)) from None


def read_input_bytes() -> bytes:
    """All of standard input, as it is.

    Raises:
        InvalidArgumentError: it is closed or cannot be read.
    """
    try:
        return bytes(_standard_input().buffer.read())
    except OSError as error:
        raise _unreadable(str(error)) from None


def _standard_input() -> TextIO:
    if sys.stdin is None:
        raise _unreadable("it is closed.")
    return sys.stdin


def _unreadable(why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Standard input cannot be read: {why}")
