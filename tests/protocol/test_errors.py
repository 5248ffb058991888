from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute_router.protocol import errors
from compute_router.protocol.errors import (
    ComputeRouterError,
    InvalidTransitionError,
    NoTrustedWorkerError,
    ReceiptError,
    RequestError,
    UnavailableError,
)


def descendants(root: type[ComputeRouterError]) -> Iterator[type[ComputeRouterError]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


# Other packages add their own subclasses; these are the ones of the protocol.
TREE = [error for error in descendants(ComputeRouterError) if error.__module__ == errors.__name__]


@pytest.mark.parametrize("error", TREE)
def test_every_error_has_its_own_code(error: type[ComputeRouterError]) -> None:
    assert [other for other in TREE if other.code == error.code] == [error]


@pytest.mark.parametrize("error", TREE)
def test_every_code_is_one_that_programs_can_compare(error: type[ComputeRouterError]) -> None:
    assert error.code.replace("_", "").isalpha()
    assert error.code == error.code.lower()


@pytest.mark.parametrize("error", TREE)
def test_every_error_is_the_callers_fault_or_ours_by_its_http_status(
    error: type[ComputeRouterError],
) -> None:
    callers_fault = issubclass(error, RequestError)
    assert error.http_status in (range(400, 500) if callers_fault else range(500, 600))


@pytest.mark.parametrize("error", TREE)
def test_every_error_says_in_its_docstring_when_it_happens(error: type[ComputeRouterError]) -> None:
    assert error.__doc__


def test_what_may_succeed_later_is_503() -> None:
    assert {error.http_status for error in TREE if issubclass(error, UnavailableError)} == {503}


def test_the_codes_of_pairing_are_the_ones_of_the_wire() -> None:
    assert {"invalid_code", "already_claimed", "expired"} <= {error.code for error in TREE}


def test_a_refused_private_job_can_still_be_looked_up() -> None:
    error = NoTrustedWorkerError("No paired worker is connected.", "job-1")
    assert (error.job_id, error.code, error.http_status) == ("job-1", "no_trusted_worker", 422)
    assert str(error) == "No paired worker is connected."


def test_an_impossible_step_of_a_job_explains_itself() -> None:
    assert str(InvalidTransitionError("completed", "claim")) == "A job that is completed cannot claim."


def test_every_check_of_a_receipt_fails_with_an_error_of_its_own() -> None:
    assert {error.code for error in TREE if issubclass(error, ReceiptError)} == {
        "receipt_invalid",
        "receipt_missing",
        "receipt_malformed",
        "receipt_job_mismatch",
        "receipt_key_mismatch",
        "receipt_attempt_mismatch",
        "output_hash_mismatch",
        "request_hash_mismatch",
        "statement_malformed",
        "statement_mismatch",
        "bad_signature",
    }
