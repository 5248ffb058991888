from __future__ import annotations

import msgspec
import pytest

from compute_router.protocol.failures import FailedResult, Failure, failed_result


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_sentence_for_the_seeker(failure: Failure) -> None:
    result = msgspec.json.decode(failed_result(failure), type=FailedResult)
    assert result.error == failure.value
    assert result.message[0].isupper()
    assert result.message.endswith(".")


def test_a_failed_job_says_the_code_under_error() -> None:
    assert msgspec.json.decode(failed_result(Failure.NO_ELIGIBLE_WORKER))["error"] == "no_eligible_worker"


def test_a_failed_job_tells_why_its_last_attempt_ended_and_what_the_worker_said() -> None:
    result = msgspec.json.decode(
        failed_result(Failure.ATTEMPTS_EXHAUSTED, Failure.WORKER_ERROR, "model não carregado"),
        type=FailedResult,
    )
    assert (result.last_reason, result.detail) == ("worker_error", "model não carregado")


def test_what_is_not_known_about_a_failure_is_left_out() -> None:
    assert set(msgspec.json.decode(failed_result(Failure.LEASE_EXPIRED, None, ""))) == {"error", "message"}
