"""A verifier written from docs/receipts.md alone, with nothing of the project: hashlib, json and PyNaCl.

``python tests/vectors/verify_proof.py < tests/vectors/proofs.json`` prints, for each case, the name of the
first check that fails, or null.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from typing import Any

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

HEX64 = re.compile("[0-9a-f]{64}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def signature_holds(pubkey: str, text: str, signature: str) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        VerifyKey(bytes.fromhex(pubkey)).verify(text.encode(), raw)
    except (ValueError, CryptoError):
        return False
    return base64.b64encode(raw).decode() == signature


def raw_members(text: str) -> dict[str, str]:
    """The members of the outermost object, each as the very text that stands there."""
    decode, at = json.JSONDecoder().raw_decode, text.index("{") + 1
    blank = re.compile(r"[ \t\r\n]*")
    members: dict[str, str] = {}

    def skip(at: int) -> int:
        found = blank.match(text, at)
        return found.end() if found else at

    while text[at := skip(at)] != "}":
        name, at = decode(text, at)
        start = skip(text.index(":", at) + 1)
        _, end = decode(text, start)
        if name in members:
            raise ValueError("a key is there twice")
        members[name] = text[start:end]
        at = skip(end)
        at += text[at] == ","
    return members


def read_document(text: str) -> dict[str, Any]:
    members = raw_members(text)
    if "result" not in members:
        return dict(json.loads(text))
    job_id, result, shown = json.loads(members["id"]), members["result"], members["receipt"]
    document: dict[str, Any] = {"job_id": job_id, "result": result, "receipt": None}
    if shown == "null":
        return document
    proof = {name: json.loads(shown)[name] for name in ("signature", "verified")}
    suffix = "," + json.dumps(proof, separators=(",", ":"))[1:]
    if not shown.endswith(suffix):
        return document | {"receipt": ""}
    return document | {"receipt": shown.removesuffix(suffix) + "}", "signature": proof["signature"]}


def read_receipt(text: str) -> dict[str, Any] | None:
    def is_hash(value: object) -> bool:
        return isinstance(value, str) and HEX64.fullmatch(value) is not None

    def is_text(value: object) -> bool:
        return isinstance(value, str)

    try:
        raw_members(text)
        receipt = dict(json.loads(text))
        formed = (
            is_text(receipt["job_id"])
            and is_hash(receipt["provider_pubkey"])
            and is_hash(receipt["output_hash"])
            and TIME.fullmatch(receipt["completed_at"])
            and (receipt["payment_ref"] is None or is_text(receipt["payment_ref"]))
            and (receipt.get("request_hash") is None or is_hash(receipt["request_hash"]))
            and (receipt.get("model") is None or is_text(receipt["model"]))
            and (receipt.get("model_digest") is None or is_text(receipt["model_digest"]))
            and (receipt.get("attempt") is None or receipt["attempt"] >= 1)
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return receipt if formed else None


def first_failure(case: dict[str, Any]) -> str | None:
    document = read_document(case["document"])
    output, request, key = case["output"], case["request"], case["coordinator_key"]
    if document["receipt"] is None:
        return "receipt"
    receipt = read_receipt(document["receipt"])
    if receipt is None:
        return "form"
    if document.get("job_id", receipt["job_id"]) != receipt["job_id"]:
        return "job"
    if document.get("provider_pubkey", receipt["provider_pubkey"]) != receipt["provider_pubkey"]:
        return "key"
    if "result" in document and sha256(document["result"]) != receipt["output_hash"]:
        return "hash"
    if output is not None and sha256(output) != receipt["output_hash"]:
        return "output"
    if not signature_holds(receipt["provider_pubkey"], document["receipt"], document["signature"]):
        return "signature"
    if request is not None and sha256(request) != receipt.get("request_hash"):
        return "request"
    return statement_failure(document, receipt, output, key)


def statement_failure(
    document: dict[str, Any], receipt: dict[str, Any], output: str | None, key: str | None
) -> str | None:
    if "statement" not in document:
        return None if key is None else "statement"
    statement = json.loads(document["statement"])
    stated = (
        statement["domain"] == "compute-router/countersign/v1"
        and all(statement[name] == document[name] for name in ("network", "job_id", "signature", "verified"))
        and statement["receipt_hash"] == sha256(document["receipt"])
        and (not statement["verified"] or statement["output_hash"] == receipt["output_hash"])
        and (output is None or statement["output_hash"] == sha256(output))
    )
    if not stated:
        return "statement"
    if key not in (None, document["coordinator_pubkey"]):
        return "coordinator"
    holds = signature_holds(
        document["coordinator_pubkey"], document["statement"], document["coordinator_signature"]
    )
    return None if holds else "countersign"


if __name__ == "__main__":
    sys.stdout.write(json.dumps([first_failure(case) for case in json.load(sys.stdin)]) + "\n")
