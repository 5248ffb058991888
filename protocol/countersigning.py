"""The coordinator's own statement about a completed job, signed with its own key.

A receipt says what a worker claims. The statement says what the coordinator knows of it: which receipt it
got, whether that proved the output, which output it handed out, and when. It is compact JSON whose first
key names what it is, so that no other signature of that key can pass for it. ed25519 is deterministic and
every part is stored, so the same job always has the same statement and signature.
"""

from __future__ import annotations

from typing import Final

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.errors import StatementMalformedError
from compute_router.protocol.receipts import (
    IsoTimestamp,
    Sha256Hex,
    SignedReceipt,
    public_key_hex,
    sha256_hex,
    sign_base64,
)
from compute_router.protocol.units import UnixMs, iso_from_unix_ms

COUNTERSIGN_VERSION: Final = "v1"
COUNTERSIGN_DOMAIN: Final = f"compute-router/countersign/{COUNTERSIGN_VERSION}"


class Statement(msgspec.Struct, frozen=True):
    """What a coordinator states about a completed job, in the order of its keys.

    ``receipt_hash`` is the SHA-256 hex of the receipt's bytes; it and ``signature``, the worker's, are None
    when the worker sent no receipt. ``verified`` says whether the receipt proved the output when it came.
    ``completed_at`` is when the coordinator took the output in.
    """

    domain: str
    network: str
    job_id: str
    receipt_hash: Sha256Hex | None
    signature: str | None
    verified: bool
    completed_at: IsoTimestamp
    output_hash: Sha256Hex


class Countersigned(msgspec.Struct, frozen=True):
    """The exact signed text of a statement, and the signature over its UTF-8 bytes in base64."""

    statement: str
    signature: str


_STATEMENTS: Final = msgspec.json.Decoder(Statement)


class Countersigner:
    """Signs statements about the jobs of one network."""

    def __init__(self, key: SigningKey, network: str) -> None:
        self._key = key
        self.network = network
        self.pubkey = public_key_hex(key)

    def __repr__(self) -> str:
        """The public half only."""
        return f"Countersigner({self.network}, {self.pubkey})"

    def sign(
        self,
        job_id: str,
        receipt: SignedReceipt | None,
        *,
        verified: bool,
        completed_at: UnixMs,
        output_hash: str,
    ) -> Countersigned:
        """State what became of a job."""
        statement = Statement(
            domain=COUNTERSIGN_DOMAIN,
            network=self.network,
            job_id=job_id,
            receipt_hash=None if receipt is None else sha256_hex(receipt.receipt_json),
            signature=None if receipt is None else receipt.signature,
            verified=verified,
            completed_at=iso_from_unix_ms(completed_at),
            output_hash=output_hash,
        )
        text = msgspec.json.encode(statement)
        return Countersigned(text.decode("utf-8"), sign_base64(self._key, text))


def decode_statement(text: str) -> Statement:
    """Read a statement without checking its signature.

    Raises:
        StatementMalformedError: it is not the compact JSON of a statement of this version.
    """
    try:
        statement = _STATEMENTS.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StatementMalformedError(f"The coordinator's statement cannot be read: {error}") from None
    if statement.domain != COUNTERSIGN_DOMAIN:
        raise StatementMalformedError(f"The coordinator's statement is not a {COUNTERSIGN_DOMAIN}.")
    if msgspec.json.encode(statement) != text.encode("utf-8", "surrogatepass"):
        raise StatementMalformedError("The coordinator's statement is not in its one form.")
    return statement
