"""Receipts made by other implementations: they must verify here for ever."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.receipts import (
    SignedReceipt,
    attach_proof,
    detach_proof,
    public_key_hex,
    sha256_hex,
    sign_base64,
    sign_receipt,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.units import unix_ms_from_iso


class Vector(msgspec.Struct, frozen=True):
    """One receipt as ``tests/vectors/make_receipts.mjs`` made it in Node.js."""

    name: str
    seed: str
    provider_pubkey: str
    job_id: str
    completed_at: str
    output_json: str
    output_hash: str
    receipt_json: str
    receipt_hash: str
    signature: str


VECTORS = msgspec.json.decode(
    (Path(__file__).parents[1] / "vectors" / "receipts.json").read_bytes(), type=list[Vector]
)
FIVE_KEYS_ONLY = [
    vector for vector in VECTORS if vector.name not in {"a payment reference", "keys after the five"}
]


def name_of(vector: Vector) -> str:
    return vector.name


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_receipt_from_node_verifies(vector: Vector) -> None:
    receipt = verify_receipt(
        SignedReceipt(vector.receipt_json.encode(), vector.signature),
        job_id=vector.job_id,
        output_json=vector.output_json.encode(),
        provider_pubkey=vector.provider_pubkey,
    )
    assert (receipt.output_hash, receipt.completed_at) == (vector.output_hash, vector.completed_at)


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_the_hash_of_a_receipt_from_node_is_the_hash_here(vector: Vector) -> None:
    assert sha256_hex(vector.receipt_json.encode()) == vector.receipt_hash


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_the_same_key_signs_the_same_bytes_alike_here(vector: Vector) -> None:
    key = SigningKey(bytes.fromhex(vector.seed))
    assert public_key_hex(key) == vector.provider_pubkey
    assert sign_base64(key, vector.receipt_json.encode()) == vector.signature


@pytest.mark.parametrize("vector", FIVE_KEYS_ONLY, ids=name_of)
def test_a_receipt_made_here_is_byte_for_byte_the_one_from_node(vector: Vector) -> None:
    signed = sign_receipt(
        SigningKey(bytes.fromhex(vector.seed)),
        vector.job_id,
        vector.output_json.encode(),
        unix_ms_from_iso(vector.completed_at),
    )
    assert signed == SignedReceipt(vector.receipt_json.encode(), vector.signature)


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_receipt_from_node_verifies_after_it_was_shown_in_a_job_answer(vector: Vector) -> None:
    shown = attach_proof(vector.receipt_json.encode(), vector.signature, verified=True)
    signed, _ = detach_proof(shown)
    verify_receipt(signed, job_id=vector.job_id, output_json=vector.output_json.encode())


@pytest.mark.parametrize(
    ("seed", "pubkey", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
                "d25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
                "387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
    ],
)
def test_the_signatures_of_rfc_8032_section_7_1_hold(
    seed: str, pubkey: str, message: str, signature: str
) -> None:
    key = SigningKey(bytes.fromhex(seed))
    text = sign_base64(key, bytes.fromhex(message))
    assert public_key_hex(key) == pubkey
    assert key.sign(bytes.fromhex(message)).signature.hex() == signature
    verify_signature(pubkey, bytes.fromhex(message), text)
