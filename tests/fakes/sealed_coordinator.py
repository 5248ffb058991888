"""A fake coordinator whose paired workers take sealed jobs, honestly or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.receipts import (
    WorkDone,
    attach_proof,
    public_key_hex,
    sha256_hex,
    sign_receipt,
)
from compute_router.protocol.sealing import SealBinding, find_sealed, open_payload, seal_result
from compute_router.protocol.units import UnixMs
from tests.fakes.http_coordinator import JOB_ID, Asked, FakeCoordinator, Reply, job_answer

NETWORK = NETWORKS[Chain.SOLANA].caip2
OWN = SigningKey(b"w" * 32)
OWN_KEY = public_key_hex(OWN)
OUTPUT = b'{"text":"a sweet answer","model":"m"}'


class _Body(msgspec.Struct):
    job_type: JobType
    payload: msgspec.Raw
    model: str | None = None


def opened(asked: Asked, key: SigningKey, user_id: str = "alice") -> bytes:
    """What a worker finds in the job that was sent."""
    body = msgspec.json.decode(asked.body, type=_Body)
    sealed = find_sealed(body.job_type, bytes(body.payload))
    assert sealed is not None, "it was sent in the clear"
    return open_payload(sealed, SealBinding(NETWORK, body.job_type, user_id, body.model), key)


def payload_of(asked: Asked) -> bytes:
    """The payload that was sent, byte for byte."""
    return bytes(msgspec.json.decode(asked.body, type=_Body).payload)


def reply_to(asked: Asked) -> str:
    """The key that the result is to be sealed to."""
    reply_key: str = json.loads(payload_of(asked))["reply_to"]
    return reply_key


def done(asked: Asked, output: bytes, signer: SigningKey = OWN, **changes: Any) -> Reply:
    """The answer about a job that a worker completed with an output; ``changes`` are lies in the receipt."""
    request_hash = changes.get("request_hash", sha256_hex(payload_of(asked)))
    work = WorkDone(request_hash, None, None, 1) if request_hash else None
    signed = sign_receipt(
        signer,
        changes.get("job_id", JOB_ID),
        changes.get("signed_output", output),
        UnixMs(1_770_638_405_000),
        work,
    )
    signature = changes.get("signature", signed.signature)
    return job_answer("completed", output, attach_proof(signed.receipt_json, signature, verified=True))


def honest(asked: Asked) -> Reply:
    """The answer about a job that the user's own worker completed."""
    return done(asked, seal_result(OUTPUT, reply_to(asked)))


@dataclass
class SealedCoordinator(FakeCoordinator):
    """A fake coordinator with paired workers; ``worker`` says what became of the job that was sent."""

    worker: Callable[[Asked], Reply] = honest
    listed: list[str] = field(default_factory=lambda: [OWN_KEY])

    def _choose(self, asked: Asked) -> Reply:
        if asked.path == "/v1/trust/list":
            providers = [
                {"provider_pubkey": key, "paired_at": "2026-02-09T12:00:00.000Z"} for key in self.listed
            ]
            return 200, msgspec.json.encode({"providers": providers})
        if asked.method == "GET" and asked.path == f"/v1/jobs/{JOB_ID}" and not self.about_job:
            return self.worker(self.taken[-1])
        return super()._choose(asked)

    @property
    def everything_sent(self) -> bytes:
        """All that the coordinator was told."""
        return b"".join(asked.body + asked.query.encode() + asked.path.encode() for asked in self.asked)
