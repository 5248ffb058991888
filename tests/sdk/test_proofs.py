"""Proofs checked offline: the vectors, the document that describes them, and verifiers written from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compute_router.sdk import UnexpectedAnswerError
from compute_router.sdk.checks import Verdict
from compute_router.sdk.proof_checks import REFORMATTED, Asked, Judgement, judge
from compute_router.sdk.proof_documents import output_in, read_document, request_in

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
DOCUMENTATION = (ROOT / "docs" / "receipts.md").read_text()


class Case(msgspec.Struct, frozen=True):
    """A document as ``make_proofs.mjs`` made it, and the check that must fail."""

    name: str
    document: str
    output: str | None
    request: str | None
    coordinator_key: str | None
    failing: str | None


CASES = msgspec.json.decode((VECTORS / "proofs.json").read_bytes(), type=list[Case])


def name_of(case: Case) -> str:
    return case.name


def bytes_of(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def judged(case: Case) -> Judgement:
    asked = Asked(
        output=bytes_of(case.output), request=bytes_of(case.request), coordinator_key=case.coordinator_key
    )
    return judge(read_document(case.document.encode()), asked)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_each_vector_fails_at_its_check_and_nowhere_before(case: Case) -> None:
    judgement = judged(case)
    failed = [check.name for check in judgement.checks if check.verdict is Verdict.FAILED]
    assert failed[:1] == ([] if case.failing is None else [case.failing])
    assert (judgement.error is None) == (case.failing is None)
    if case.failing is None:
        unmade = {check.name for check in judgement.checks if check.verdict is Verdict.NOT_MADE}
        answer_has_output = '"result"' in case.document
        assert unmade == (set() if case.output or answer_has_output else {"output"})


def test_there_are_vectors_for_every_check() -> None:
    checks = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\d+\. (`.*?):", DOCUMENTATION, re.MULTILINE))))
    assert {case.failing for case in CASES} - {None} == checks


def test_a_reformatted_answer_is_told_apart_from_a_forged_one() -> None:
    (case,) = [case for case in CASES if case.name == "a job answer that was reformatted"]
    assert judged(case).hint == REFORMATTED
    (forged,) = [case for case in CASES if case.name == "a receipt by another key"]
    assert judged(forged).hint is None


def written_from_the_page() -> list[str]:
    """A verifier that somebody else could have written: in JavaScript where there is Node.js."""
    node = shutil.which("node")
    if node is not None:
        return [node, str(VECTORS / "verify_proof.mjs")]
    return [sys.executable, str(VECTORS / "verify_proof.py")]


@pytest.mark.parametrize(
    "command", [written_from_the_page(), [sys.executable, str(VECTORS / "verify_proof.py")]]
)
def test_a_verifier_written_from_the_documentation_agrees_on_every_vector(command: list[str]) -> None:
    vectors = (VECTORS / "proofs.json").read_bytes()
    answer = subprocess.run(command, input=vectors, capture_output=True, check=True, timeout=60)
    found = dict(zip((case.name for case in CASES), json.loads(answer.stdout), strict=True))
    assert found == {case.name: case.failing for case in CASES}


def example() -> dict[str, Any]:
    """The document that the page shows."""
    (block,) = re.findall(r"^```json\n(.*?)^```", DOCUMENTATION, re.MULTILINE | re.DOTALL)
    return dict(json.loads(block))


def test_the_example_of_the_documentation_verifies() -> None:
    first = CASES[0]
    document = example()
    assert document == json.loads(first.document)
    assert f"`{first.output}`" in DOCUMENTATION
    assert f"`{first.request}`" in DOCUMENTATION
    shown = msgspec.structs.replace(first, document=json.dumps(document, indent=1))
    assert judged(shown).error is None


def test_the_code_of_the_documentation_accepts_the_example_and_nothing_else() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENTATION, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    first = CASES[0]
    output, request = bytes_of(first.output), bytes_of(first.request)
    names["check"](example(), output, request, first.coordinator_key)
    with pytest.raises(AssertionError):
        names["check"](example(), b"{}", request, first.coordinator_key)
    for name in example():
        changed = example() | {name: "another"}
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever check comes first
            names["check"](changed, output, request, first.coordinator_key)


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"receipt":5}', b'{"id":"j"}', b"\xff"])
def test_what_is_no_document_is_refused_before_any_check(data: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        read_document(data)


def test_an_output_may_be_given_as_itself_or_as_the_answer_that_holds_it() -> None:
    answer = next(case.document for case in CASES if case.name == "a job answer")
    expected = CASES[0].output
    assert expected is not None
    assert output_in(answer.encode()) == output_in(expected.encode() + b"\n") == expected.encode()


def test_a_request_may_be_given_as_itself_or_as_the_commit_that_holds_it() -> None:
    payload = b'{"task_type" : "summarize", "input":"caf\\u00e9"}'
    commit = b'{"job_type":"TASK","user_id":"ana","payload": ' + payload + b" }"
    assert request_in(commit) == request_in(payload + b"\n") == payload
