"""The vocabulary of a job: what it is, who may run it, how fast, and what it carries."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta


class JobType(Enum):
    """What kind of work a job is. Also the name of the capability a worker needs for it."""

    LLM_INFER = "LLM_INFER"
    TASK = "TASK"


class TaskType(Enum):
    """The built-in tasks that need no model."""

    SUMMARIZE = "summarize"
    CLASSIFY = "classify"
    EXTRACT_JSON = "extract_json"


class Tier(Enum):
    """The service level a job was committed to. On the wire this is the job's ``policy``."""

    FAST = "FAST"
    CHEAP = "CHEAP"


class Policy(Enum):
    """What a seeker asks for: a tier, or the default tier of the job's type."""

    FAST = "FAST"
    CHEAP = "CHEAP"
    AUTO = "AUTO"


class PrivacyClass(Enum):
    """PUBLIC jobs go to any worker; PRIVATE ones only to workers that the user paired with."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"


class ProviderType(Enum):
    """What kind of machine a worker is. SEEKER is the light, phone-like one."""

    DESKTOP = "DESKTOP"
    SEEKER = "SEEKER"


_AUTO_TIER: Final = {JobType.LLM_INFER: Tier.FAST, JobType.TASK: Tier.CHEAP}


def resolve_tier(policy: Policy, job_type: JobType) -> Tier:
    """Turn a policy into a tier; AUTO is FAST for inference and CHEAP for tasks."""
    if policy is Policy.AUTO:
        return _AUTO_TIER[job_type]
    return Tier(policy.value)


MAX_USER_ID_CHARS: Final = 256
MAX_MODEL_CHARS: Final = 256
MAX_OUTPUT_TOKENS: Final = 1_000_000

# Control characters, and those that cannot be seen or turn the text around them: by these, two user ids look
# like one.
_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f"
)

UserId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_CHARS, pattern=rf"^[^{_UNSEEN}]*\Z")]
ModelName = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class LlmInferPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of an ``LLM_INFER`` job."""

    prompt: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None
    job_type: Literal["LLM_INFER"] | None = None


class TaskPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of a ``TASK`` job."""

    task_type: TaskType
    input: Annotated[str, Meta(min_length=1)]
    job_type: Literal["TASK"] | None = None


_LLM_INFER_PAYLOADS: Final = msgspec.json.Decoder(LlmInferPayload)
_TASK_PAYLOADS: Final = msgspec.json.Decoder(TaskPayload)


def decode_payload(job_type: JobType, raw: bytes | msgspec.Raw) -> LlmInferPayload | TaskPayload:
    """Read the payload that belongs to a job type.

    Raises:
        msgspec.ValidationError: the payload is not one for this job type.
        msgspec.DecodeError: the bytes are not JSON.
        UnicodeDecodeError: the bytes are not UTF-8.
    """
    if job_type is JobType.LLM_INFER:
        return _LLM_INFER_PAYLOADS.decode(raw)
    return _TASK_PAYLOADS.decode(raw)
