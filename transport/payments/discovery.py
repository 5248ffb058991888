"""``/.well-known/x402``: what is sold here and for how much, for programs that look around.

Each entry has the fields of a resource in x402's own discovery API, so that what reads that can read this.
The extension ``bazaar`` of an entry says what to send, as an example and as a JSON schema of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from compute_router.protocol.jobs import JobType, TaskType, Tier
from compute_router.protocol.pricing import price
from compute_router.transport.http_types import Answer, json_answer
from compute_router.transport.payments.offers import DESCRIPTION, JSON, Offers, resource_url

_PAYLOADS: Final[dict[JobType, dict[str, Any]]] = {
    JobType.LLM_INFER: {"prompt": "Why is the sky blue?", "max_tokens": 200},
    JobType.TASK: {"task_type": "summarize", "input": "A long text."},
}
_PAYLOAD_SCHEMAS: Final[dict[JobType, dict[str, Any]]] = {
    JobType.LLM_INFER: {
        "type": "object",
        "properties": {"prompt": {"type": "string"}, "max_tokens": {"type": "integer", "minimum": 1}},
        "required": ["prompt"],
    },
    JobType.TASK: {
        "type": "object",
        "properties": {
            "task_type": {"type": "string", "enum": [kind.value for kind in TaskType]},
            "input": {"type": "string"},
        },
        "required": ["task_type", "input"],
    },
}


class Sold(msgspec.Struct, frozen=True, rename="camel"):
    """One kind of job on one endpoint, in one version of x402, of which ``accepts`` are requirements."""

    resource: str
    type: str
    method: str
    x402_version: int
    tier: Tier
    job_type: JobType
    description: str
    mime_type: str
    accepts: msgspec.Raw
    extensions: dict[str, Any]


class Discovery(msgspec.Struct, frozen=True, rename="camel"):
    """The whole document."""

    x402_version: int
    network: str
    pay_to: str
    resources: list[Sold]


def discovery_answer(offers: Offers, host: str | None, fee_payer: str | None) -> Answer:
    """The document, with addresses as the client wrote them: all of it in version 2, then in version 1."""
    sold = []
    for version in (2, 1):
        for tier in Tier:
            url = resource_url(host, f"/v1/jobs/commit/{tier.value.lower()}")
            for job_type in JobType:
                offer = offers.offered(price(tier, job_type), url, fee_payer).offer
                sold.append(
                    Sold(
                        resource=url,
                        type="http",
                        method="POST",
                        x402_version=version,
                        tier=tier,
                        job_type=job_type,
                        description=DESCRIPTION,
                        mime_type=JSON,
                        accepts=msgspec.Raw(offer.accepts if version == 2 else offer.accepts_v1),
                        extensions={"bazaar": _bazaar(job_type)},
                    )
                )
    return json_answer(Discovery(2, offers.network, offers.pay_to, sold))


def _bazaar(job_type: JobType) -> dict[str, Any]:
    body = {"job_type": job_type.value, "user_id": "alice", "payload": _PAYLOADS[job_type]}
    body_schema = {
        "type": "object",
        "properties": {
            "job_type": {"const": job_type.value},
            "user_id": {"type": "string"},
            "payload": _PAYLOAD_SCHEMAS[job_type],
        },
        "required": ["job_type", "user_id", "payload"],
    }
    properties = {
        "type": {"const": "http"},
        "method": {"const": "POST"},
        "bodyType": {"const": "json"},
        "body": body_schema,
    }
    return {
        "info": {
            "input": {"type": "http", "method": "POST", "bodyType": "json", "body": body},
            "output": {"type": "json", "example": {"job_id": "3f2c9a54-6d0b-4c1e-9a77-0b1d2e3f4a5b"}},
        },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "input": {"type": "object", "properties": properties, "required": sorted(properties)}
            },
            "required": ["input"],
        },
    }
