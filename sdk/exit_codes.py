"""What the command line's exit codes mean."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk.errors import (
    CoordinatorFailedError,
    CoordinatorUnreachableError,
    InvalidArgumentError,
    JobTimeoutError,
    PairingTimeoutError,
    WrongNetworkError,
)


class ExitCode(IntEnum):
    """Exit codes. ``EXIT_CODES_HELP`` is their description for people."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMEOUT = 4
    INTERRUPTED = 130


EXIT_CODES_HELP: Final = """exit codes:
  0    done, and every result shown was verified
  1    the job failed, was refused, or its result is not verified; the coordinator has problems;
       a wallet, key or trust file cannot be used; the output cannot be written
  2    the command line is wrong
  3    the coordinator cannot be reached or cannot serve now
  4    the job did not end in time and may still finish; no worker used the pairing code in time
  130  interrupted
"""


def exit_code_of(error: ComputeRouterError) -> ExitCode:
    """The exit code that stands for an error."""
    if isinstance(error, InvalidArgumentError | WrongNetworkError):
        return ExitCode.USAGE
    if isinstance(error, CoordinatorUnreachableError | CoordinatorFailedError):
        return ExitCode.UNREACHABLE
    if isinstance(error, JobTimeoutError | PairingTimeoutError):
        return ExitCode.TIMEOUT
    return ExitCode.FAILED
