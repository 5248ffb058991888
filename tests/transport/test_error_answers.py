"""Errors become JSON in one place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from compute_router.protocol import errors
from compute_router.transport.error_answers import answer_for


def tree(kind: type[errors.ComputeRouterError]) -> Iterator[type[errors.ComputeRouterError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


EDGE = [
    kind
    for parent in (errors.RequestError, errors.UnavailableError)
    for kind in tree(parent)
    if kind.__module__ == errors.__name__
]


def make(kind: type[errors.ComputeRouterError]) -> errors.ComputeRouterError:
    if kind is errors.MethodNotAllowedError:
        return errors.MethodNotAllowedError("No.", "GET")
    if kind is errors.NoTrustedWorkerError:
        return errors.NoTrustedWorkerError("No.", "some-job")
    return kind("No.")


@pytest.mark.parametrize("kind", EDGE)
def test_every_error_of_the_edge_keeps_its_code_status_and_sentence(
    kind: type[errors.ComputeRouterError],
) -> None:
    answer = answer_for(make(kind))
    body = json.loads(answer.body)
    assert answer.status == kind.http_status
    assert (body["error"], body["message"]) == (kind.code, "No.")
    assert 400 <= answer.status < 600
    assert answer.status != 500


def test_the_headers_that_http_wants_are_there() -> None:
    assert answer_for(errors.MethodNotAllowedError("No.", "GET")).headers == (("Allow", "GET"),)
    assert ("Upgrade", "websocket") in answer_for(errors.UpgradeRequiredError("No.")).headers
    assert answer_for(errors.StorageUnavailableError("No.")).headers == (("Retry-After", "1"),)


def test_a_refused_private_job_has_its_id() -> None:
    body = json.loads(answer_for(errors.NoTrustedWorkerError("No.", "some-job")).body)
    assert body["job_id"] == "some-job"


@pytest.mark.parametrize(
    "error",
    [KeyError("secret"), errors.InvalidTransitionError("secret", "secret"), errors.ReceiptError("secret")],
)
def test_an_unforeseen_error_is_logged_and_says_nothing_of_ours(
    error: Exception, expected_errors: list[logging.LogRecord]
) -> None:
    answer = answer_for(error)
    assert (answer.status, json.loads(answer.body)["error"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert [record.exc_info[1] for record in expected_errors if record.exc_info] == [error]
