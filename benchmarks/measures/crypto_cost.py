"""What one signature, one check and one seal cost, measured in this process.

All of them are the very functions that coordinator, worker and SDK call.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Final

import msgspec
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from benchmarks.figures import Figure
from compute_router.protocol.countersigning import Countersigner, decode_statement
from compute_router.protocol.jobs import JobType, TaskType
from compute_router.protocol.messages import registration_message
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pairing import new_pairing_code, sign_claim, verify_claim
from compute_router.protocol.receipts import (
    SignedReceipt,
    WorkDone,
    public_key_hex,
    sha256_hex,
    sign_base64,
    sign_receipt,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.sealing import (
    SealBinding,
    find_sealed,
    open_payload,
    open_result,
    seal_payload,
    seal_result,
)
from compute_router.protocol.units import UnixMs

PAYLOAD_BYTES: Final = 200
MANY_RECIPIENTS: Final = 8
SIGN: Final = "signature alone, ed25519"
CHECK: Final = "check of a signature alone"
_JOB_ID: Final = "00000000-0000-4000-8000-000000000000"
_AT: Final = UnixMs(1_770_000_000_000)
_REPEATS: Final = 9
_CALLS: Final = 200

Call = Callable[[], object]


class Operation(msgspec.Struct, frozen=True):
    """Something to be timed. ``of`` is the name of what it is compared with."""

    name: str
    call: Call
    of: str = ""


def crypto_cost() -> list[Figure]:
    """Time every operation."""
    operations = [*_signatures(), *_seals()]
    seconds = {each.name: _seconds(each.call) for each in operations}
    return [
        Figure(
            f"one {each.name}",
            f"{seconds[each.name] * 1e6:,.1f} µs",
            f"{seconds[each.name] / seconds[each.of]:.2f} x {each.of}" if each.of else "1",
        )
        for each in operations
    ]


def _seconds(call: Call) -> float:
    """The median of some repeats, of many calls each."""
    return median(timeit.repeat(call, number=_CALLS, repeat=_REPEATS)) / _CALLS


def _signatures() -> list[Operation]:
    key = SigningKey.generate()
    pubkey, network = public_key_hex(key), NETWORKS[Chain.SOLANA].caip2
    output = msgspec.json.encode({"sentiment": "positive", "confidence": 0.87})
    request_hash, output_hash = sha256_hex(_payload()), sha256_hex(output)
    work = WorkDone(request_hash, model=None, model_digest=None, attempt=1)
    five = sign_receipt(key, _JOB_ID, output, _AT)
    nine = sign_receipt(key, _JOB_ID, output, _AT, work)
    countersigner = Countersigner(SigningKey.generate(), network)
    countersign = partial(
        countersigner.sign, _JOB_ID, nine, verified=True, completed_at=_AT, output_hash=output_hash
    )
    countersigned = countersign()
    nonce = "0" * 64
    registration = registration_message(network, nonce, pubkey)
    registered = sign_base64(key, registration)
    code = new_pairing_code()
    claimed = sign_claim(key, network, code)

    def verify(receipt: SignedReceipt) -> object:
        return verify_receipt(
            receipt,
            job_id=_JOB_ID,
            output_json=output,
            provider_pubkey=pubkey,
            request_hash=request_hash,
            attempt=1,
        )

    def verify_statement() -> None:
        decode_statement(countersigned.statement)
        verify_signature(countersigner.pubkey, countersigned.statement.encode(), countersigned.signature)

    return [
        Operation(SIGN, lambda: key.sign(registration)),
        Operation(CHECK, lambda: verify_signature(pubkey, registration, registered)),
        Operation("receipt of five keys signed", partial(sign_receipt, key, _JOB_ID, output, _AT), SIGN),
        Operation(
            "receipt of nine keys signed", partial(sign_receipt, key, _JOB_ID, output, _AT, work), SIGN
        ),
        Operation("receipt of five keys checked", partial(verify, five), CHECK),
        Operation("receipt of nine keys checked", partial(verify, nine), CHECK),
        Operation("receipt countersigned", countersign, SIGN),
        Operation("countersignature checked", verify_statement, CHECK),
        Operation(
            "registration proof made",
            lambda: sign_base64(key, registration_message(network, nonce, pubkey)),
            SIGN,
        ),
        Operation(
            "registration proof checked",
            lambda: verify_signature(pubkey, registration_message(network, nonce, pubkey), registered),
            CHECK,
        ),
        Operation("claim of a pairing code signed", partial(sign_claim, key, network, code), SIGN),
        Operation(
            "claim of a pairing code checked", partial(verify_claim, network, code, pubkey, claimed), CHECK
        ),
    ]


def _seals() -> list[Operation]:
    plain, secret = _payload(), PrivateKey.generate()
    reply_to = bytes(secret.public_key).hex()
    binding = SealBinding(NETWORKS[Chain.SOLANA].caip2, JobType.TASK, "seeker-00", model=None)
    keys = [SigningKey.generate() for _ in range(MANY_RECIPIENTS)]
    recipients = [public_key_hex(key) for key in keys]
    committed = seal_payload(plain, binding, recipients, reply_to)
    result = seal_result(plain, reply_to)

    def open_one() -> bytes:
        sealed = find_sealed(JobType.TASK, committed)
        assert sealed is not None
        return open_payload(sealed, binding, keys[0])

    size = f"{len(plain)} bytes"
    one = f"payload of {size} sealed for one worker"
    return [
        Operation(one, partial(seal_payload, plain, binding, recipients[:1], reply_to)),
        Operation(
            f"payload of {size} sealed for {MANY_RECIPIENTS}",
            partial(seal_payload, plain, binding, recipients, reply_to),
            one,
        ),
        Operation(f"payload of {size} for {MANY_RECIPIENTS} opened", open_one, one),
        Operation(f"result of {size} sealed", partial(seal_result, plain, reply_to), one),
        Operation(f"result of {size} opened", partial(open_result, result, secret), one),
    ]


def _payload() -> bytes:
    """A valid payload of the size that is asked for."""
    empty = msgspec.json.encode({"task_type": TaskType.CLASSIFY, "input": ""})
    text = "x" * (PAYLOAD_BYTES - len(empty))
    return msgspec.json.encode({"task_type": TaskType.CLASSIFY, "input": text})
