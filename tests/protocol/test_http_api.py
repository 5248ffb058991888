from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol import http_api
from compute_router.protocol.http_api import (
    CommitRequest,
    ErrorAnswer,
    JobAnswer,
    QuoteAnswer,
    TrustClaimRequest,
    TrustCreateRequest,
)
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from tests.protocol.strategies import structs

COMMIT = {"job_type": "TASK", "user_id": "ana", "payload": {"task_type": "classify", "input": "fine"}}
CLAIM = {"pairing_code": "K7-42", "provider_pubkey": "ab" * 32}

BODIES = [
    kind
    for kind in vars(http_api).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == http_api.__name__
]


def commit_request(body: object) -> CommitRequest:
    return msgspec.json.decode(json.dumps(body), type=CommitRequest)


@pytest.mark.parametrize("kind", BODIES)
@given(data=st.data())
def test_every_body_survives_the_wire(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    body = data.draw(structs(kind))
    assert msgspec.json.decode(msgspec.json.encode(body), type=kind) == body


def test_a_job_is_public_unless_it_says_otherwise() -> None:
    assert commit_request(COMMIT).privacy_class is PrivacyClass.PUBLIC
    assert commit_request(COMMIT | {"privacy_class": "PRIVATE"}).privacy_class is PrivacyClass.PRIVATE


def test_a_commit_keeps_the_payloads_bytes() -> None:
    payload = b'{ "input" : "\\u00e9", "task_type":"classify" }'
    body = b'{"payload": %s ,"job_type":"TASK","user_id":"ana"}' % payload
    request = msgspec.json.decode(body, type=CommitRequest)
    assert request.job_type is JobType.TASK
    assert bytes(request.payload) == payload


def test_a_misspelt_privacy_class_never_makes_a_job_public() -> None:
    for name in ["privacyClass", "privacy-class", "PRIVACY_CLASS", "privacy"]:
        with pytest.raises(msgspec.ValidationError, match=name):
            commit_request(COMMIT | {name: "PRIVATE"})


@pytest.mark.parametrize("name", COMMIT)
def test_a_commit_without_job_type_user_or_payload_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=name):
        commit_request({key: value for key, value in COMMIT.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job_type", "IMAGE"),
        ("job_type", "task"),
        ("job_type", None),
        ("user_id", ""),
        ("user_id", 5),
        ("user_id", "ana\n"),
        ("user_id", "x" * 257),
        ("privacy_class", "SECRET"),
        ("privacy_class", "private"),
        ("privacy_class", None),
        ("model", ""),
        ("model", 5),
    ],
)
def test_a_commit_with_a_wrong_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=name):
        commit_request(COMMIT | {name: value})


@pytest.mark.parametrize("body", [None, 5, [], "job", {}])
@pytest.mark.parametrize("kind", [CommitRequest, TrustCreateRequest, TrustClaimRequest])
def test_a_body_that_is_no_request_is_refused(kind: type[msgspec.Struct], body: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(body), type=kind)


@pytest.mark.parametrize(
    "change",
    [
        {"pairing_code": ""},
        {"pairing_code": "x" * 65},
        {"pairing_code": None},
        {"provider_pubkey": "ab"},
        {"provider_pubkey": "AB" * 32},
        {"user_id": "ana"},
    ],
)
def test_a_claim_is_a_short_code_and_a_public_key_and_nothing_else(change: dict[str, Any]) -> None:
    msgspec.convert(CLAIM, TrustClaimRequest)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(CLAIM | change, TrustClaimRequest)


def test_a_quote_has_the_five_fields_of_the_wire() -> None:
    answer = QuoteAnswer("$0.010", "/v1/jobs/commit/fast", Tier.FAST, "eip155:10143")
    assert json.loads(msgspec.json.encode(answer)) == {
        "price": "$0.010",
        "endpoint": "/v1/jobs/commit/fast",
        "policy_resolved": "FAST",
        "network": "eip155:10143",
        "expires_at": None,
    }


def test_a_job_answer_keeps_the_bytes_of_result_and_receipt() -> None:
    result, receipt = b'{"confidence": 1.0e0}', b'{"job_id":"1","signature":"s" , "verified":true}'
    body = (
        b'{"id":"1","status":"completed","result": %s,"receipt":%s ,"created_at":"a","completed_at":null}'
        % (result, receipt)
    )
    answer = msgspec.json.decode(body, type=JobAnswer)
    assert (bytes(answer.result), bytes(answer.receipt)) == (result, receipt)


def test_an_error_names_a_job_only_if_there_is_one() -> None:
    assert json.loads(msgspec.json.encode(ErrorAnswer("not_found", "No such job."))) == {
        "error": "not_found",
        "message": "No such job.",
    }
    assert (
        json.loads(msgspec.json.encode(ErrorAnswer("no_trusted_worker", "No.", "job-1")))["job_id"] == "job-1"
    )
