"""Known answers of sealing, opened with libsodium's own calls, as another implementation would."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import nacl.bindings as sodium
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType
from compute_router.protocol.sealing import SealBinding, find_sealed, open_payload, open_result

VECTOR: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "sealing.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("worker", VECTOR["workers"])
def test_the_vector_opens_as_the_document_describes_it(worker: dict[str, str]) -> None:
    payload = json.loads(VECTOR["payload"])
    public, signing = sodium.crypto_sign_seed_keypair(bytes.fromhex(worker["seed"]))
    assert public.hex() == worker["pubkey"]
    content_key = sodium.crypto_box_seal_open(
        base64.b64decode(payload["keys"][worker["pubkey"]]),
        sodium.crypto_sign_ed25519_pk_to_curve25519(public),
        sodium.crypto_sign_ed25519_sk_to_curve25519(signing),
    )
    ciphertext = base64.b64decode(payload["ciphertext"])
    plain = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        ciphertext[24:], VECTOR["associated_data"].encode(), ciphertext[:24], content_key
    )
    assert plain.decode() == VECTOR["plain_payload"]
    assert hashlib.sha256(VECTOR["payload"].encode()).hexdigest() == VECTOR["request_hash"]


def test_the_result_of_the_vector_opens_as_the_document_describes_it() -> None:
    secret = bytes.fromhex(VECTOR["reply_secret"])
    public = sodium.crypto_scalarmult_base(secret)
    boxed = base64.b64decode(json.loads(VECTOR["output"])["ciphertext"])
    assert sodium.crypto_box_seal_open(boxed, public, secret).decode() == VECTOR["plain_output"]
    assert hashlib.sha256(VECTOR["output"].encode()).hexdigest() == VECTOR["output_hash"]


@pytest.mark.parametrize("worker", VECTOR["workers"])
def test_we_open_the_vector_too(worker: dict[str, str]) -> None:
    job_type = JobType(VECTOR["job_type"])
    sealed = find_sealed(job_type, VECTOR["payload"].encode())
    assert sealed is not None
    binding = SealBinding(VECTOR["network"], job_type, VECTOR["user_id"], VECTOR["model"])
    plain = open_payload(sealed, binding, SigningKey(bytes.fromhex(worker["seed"])))
    assert plain.decode() == VECTOR["plain_payload"]
    secret = PrivateKey(bytes.fromhex(VECTOR["reply_secret"]))
    assert open_result(VECTOR["output"].encode(), secret).decode() == VECTOR["plain_output"]
