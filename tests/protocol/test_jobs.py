from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from compute_router.protocol.jobs import (
    MAX_OUTPUT_TOKENS,
    MAX_USER_ID_CHARS,
    JobType,
    LlmInferPayload,
    ModelName,
    Policy,
    TaskPayload,
    TaskType,
    Tier,
    UserId,
    decode_payload,
    resolve_tier,
)
from tests.protocol.strategies import structs


@pytest.mark.parametrize("job_type", JobType)
@pytest.mark.parametrize("tier", Tier)
def test_a_policy_that_names_a_tier_is_that_tier(tier: Tier, job_type: JobType) -> None:
    assert resolve_tier(Policy(tier.value), job_type) is tier


def test_auto_is_fast_for_inference_and_cheap_for_tasks() -> None:
    assert resolve_tier(Policy.AUTO, JobType.LLM_INFER) is Tier.FAST
    assert resolve_tier(Policy.AUTO, JobType.TASK) is Tier.CHEAP


def test_an_inference_payload_is_a_prompt_with_an_optional_limit() -> None:
    assert decode_payload(JobType.LLM_INFER, b'{"prompt":"hi"}') == LlmInferPayload("hi")
    assert decode_payload(JobType.LLM_INFER, b'{"prompt":"hi","max_tokens":5}') == LlmInferPayload("hi", 5)


@pytest.mark.parametrize("task_type", ["summarize", "classify", "extract_json"])
def test_a_task_payload_is_one_of_three_tasks_and_its_input(task_type: str) -> None:
    raw = b'{"task_type":"%s","input":"text"}' % task_type.encode()
    assert decode_payload(JobType.TASK, raw) == TaskPayload(TaskType(task_type), "text")


def test_a_payload_may_repeat_its_own_job_type() -> None:
    decode_payload(JobType.LLM_INFER, b'{"job_type":"LLM_INFER","prompt":"hi"}')
    decode_payload(JobType.TASK, b'{"job_type":"TASK","task_type":"classify","input":"x"}')


@given(structs(LlmInferPayload))
def test_every_inference_payload_survives_the_wire(payload: LlmInferPayload) -> None:
    assert decode_payload(JobType.LLM_INFER, msgspec.json.encode(payload)) == payload


@given(structs(TaskPayload))
def test_every_task_payload_survives_the_wire(payload: TaskPayload) -> None:
    assert decode_payload(JobType.TASK, msgspec.json.encode(payload)) == payload


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"prompt":""}',
        b'{"prompt":null}',
        b'{"prompt":["hi"]}',
        b'{"prompt":"hi","max_tokens":0}',
        b'{"prompt":"hi","max_tokens":-1}',
        b'{"prompt":"hi","max_tokens":1.5}',
        b'{"prompt":"hi","max_tokens":"5"}',
        b'{"prompt":"hi","max_tokens":true}',
        b'{"prompt":"hi","max_tokens":%d}' % (MAX_OUTPUT_TOKENS + 1),
        b'{"prompt":"hi","job_type":"TASK"}',
        b'{"prompt":"hi","temperature":1}',
        b'{"task_type":"classify","input":"x"}',
    ],
)
def test_anything_else_is_no_inference_payload(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_payload(JobType.LLM_INFER, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"task_type":"classify"}',
        b'{"input":"x"}',
        b'{"task_type":"classify","input":""}',
        b'{"task_type":"classify","input":{}}',
        b'{"task_type":"translate","input":"x"}',
        b'{"task_type":"CLASSIFY","input":"x"}',
        b'{"task_type":"classify","input":"x","job_type":"LLM_INFER"}',
        b'{"task_type":"classify","input":"x","labels":[]}',
        b'{"prompt":"hi"}',
    ],
)
def test_anything_else_is_no_task_payload(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_payload(JobType.TASK, raw)


@pytest.mark.parametrize("raw", [b"", b"{", b"prompt", b'{"prompt":"hi"} {}', b'{"prompt":"a\nb"}'])
def test_a_payload_that_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_payload(JobType.LLM_INFER, raw)


def test_a_payload_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_payload(JobType.LLM_INFER, b'{"prompt":"\xff"}')


@pytest.mark.parametrize("kind", [UserId, ModelName])
@pytest.mark.parametrize("name", ["a", "ü/日本:1b", "with space", "x" * MAX_USER_ID_CHARS])
def test_names_may_hold_any_printable_text(kind: Any, name: str) -> None:
    assert msgspec.convert(name, kind) == name


@pytest.mark.parametrize("kind", [UserId, ModelName])
@pytest.mark.parametrize("name", ["", "a\n", "\x00", "a\x7fb", "x" * (MAX_USER_ID_CHARS + 1), 5, None])
def test_names_that_are_empty_too_long_or_hold_control_characters_are_refused(
    kind: Any, name: object
) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, kind)


@pytest.mark.parametrize(
    "name", ["a b", "O'Neill", "ü", "日本", "שלום", "عربي", "हिन्दी", "e\u0301", "😀", "a\u00a0b"]
)
def test_a_user_id_is_any_text_that_can_be_seen(name: str) -> None:
    assert msgspec.convert(name, UserId) == name


@pytest.mark.parametrize(
    "unseen",
    [
        *("\x80", "\x85", "\x9b", "\x9f", "\xad"),
        *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\U000e0041"),
        *("\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069", "\u061c"),
        *("\u2028", "\u2029"),
    ],
)
def test_no_user_id_holds_what_cannot_be_seen_or_turns_text_around(unseen: str) -> None:
    for name in (unseen, f"al{unseen}ice", f"{unseen}alice", f"alice{unseen}"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(name, UserId)
