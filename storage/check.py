"""Looks for everything that must not be in a database: damage, broken references and broken promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from string import Template
from typing import Final, NamedTuple

import apsw
import msgspec

from compute_router.protocol.errors import ReceiptError
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import FINAL, UNFINISHED, JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.receipts import SignedReceipt, decode_receipt, sha256_hex, verify_receipt
from compute_router.storage.money_check import MONEY_RULES

Progress = Callable[[int, int], None]
"""Told how many receipts were checked, and of how many."""


_HELD: Final = (JobStatus.ASSIGNED, JobStatus.RUNNING)
_PAYMENTS_SINCE_VERSION: Final = 5
_TIME: Final = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"


class Rule(NamedTuple):
    """Rows that must not be: a sentence about each, and the query for the values in it."""

    sentence: str
    sql: str
    since_version: int = 1


def _words(values: Iterable[Enum]) -> str:
    return "(" + ", ".join(f"'{value.value}'" for value in values) + ")"


def _where(condition: str) -> str:
    return Template("SELECT id, status FROM jobs WHERE " + condition).substitute(  # noqa: S608 - constants
        unfinished=_words(UNFINISHED), final=_words(FINAL), held=_words(_HELD)
    )


def _unknown(what: str, column: str, values: Iterable[Enum]) -> Rule:
    return Rule(
        f"Job {{}} has the unknown {what} {{!r}}.",
        f"SELECT id, {column} FROM jobs WHERE {column} NOT IN {_words(values)}",  # noqa: S608 - constants
    )


RULES: Final = (
    _unknown("status", "status", JobStatus),
    _unknown("type", "type", JobType),
    _unknown("policy", "policy", Tier),
    _unknown("privacy class", "privacy_class", PrivacyClass),
    _unknown("last failure", "last_failure", Failure),
    Rule("Job {} is {} and has no result.", _where("status IN $final AND result IS NULL")),
    Rule("Job {} is {} and has no time of its end.", _where("status IN $final AND completed_at IS NULL")),
    Rule(
        "Job {} is {} and has a result or a time of its end.",
        _where("status IN $unfinished AND (result IS NOT NULL OR completed_at IS NOT NULL)"),
    ),
    Rule(
        "Job {} is {} and names no worker.",
        _where("(status = 'completed' OR status IN $held) AND worker_pubkey IS NULL"),
    ),
    Rule(
        "Job {} is {} and has no lease.",
        _where("status IN $held AND lease_deadline_ms IS NULL"),
    ),
    Rule(
        "Job {} is {} and names a worker or has a lease.",
        _where("status = 'pending' AND (worker_pubkey IS NOT NULL OR lease_deadline_ms IS NOT NULL)"),
    ),
    Rule(
        "Job {} is {} and was never given to a worker.",
        _where("(status = 'completed' OR status IN $held) AND attempt < 1"),
    ),
    Rule("Job {} has the attempt {}.", "SELECT id, attempt FROM jobs WHERE attempt < 0"),
    Rule(
        "Job {} counts {} failures in {} attempts.",
        "SELECT id, failures, attempt FROM jobs WHERE failures NOT BETWEEN 0 AND attempt",
        since_version=2,
    ),
    Rule(
        "Job {} was committed at {!r} and ended at {!r}, which are no times.",
        "SELECT id, created_at, completed_at FROM jobs "  # noqa: S608 - a constant
        f"WHERE created_at NOT GLOB '{_TIME}' OR completed_at NOT GLOB '{_TIME}'",
    ),
    Rule(
        "Job {} has a list of tried workers that cannot be read.",
        "SELECT id FROM jobs WHERE NOT json_valid(tried_pubkeys)",
    ),
    Rule(
        "The receipt of job {} belongs to a job that is {}.",
        "SELECT job.id, job.status FROM receipts JOIN jobs AS job ON job.id = job_id "
        "WHERE job.status <> 'completed'",
    ),
    Rule(
        "The receipt of job {} is by another worker than the one that completed it.",
        "SELECT job.id FROM receipts AS receipt JOIN jobs AS job ON job.id = job_id "
        "WHERE receipt.provider_pubkey <> job.worker_pubkey",
    ),
    *(Rule(sentence, sql, since_version=_PAYMENTS_SINCE_VERSION) for sentence, sql in MONEY_RULES),
)

_RECEIPTS: Final = """
SELECT receipt.job_id, receipt.provider_pubkey, CAST(receipt.receipt_json AS BLOB), receipt.signature,
    receipt.verified, CAST(job.result AS BLOB), CAST(job.payload AS BLOB), job.attempt
FROM receipts AS receipt JOIN jobs AS job ON job.id = receipt.job_id
"""


class Counts(msgspec.Struct, frozen=True):
    """How much there is in a database. ``payments`` is None in one that is older than payments."""

    jobs: int
    unfinished: int
    receipts: int
    payments: int | None


def count(connection: apsw.Connection) -> Counts:
    """How much a database of ours holds."""
    return Counts(
        connection.execute("SELECT count(*) FROM jobs").get,
        connection.execute(f"SELECT count(*) FROM jobs WHERE status IN {_words(UNFINISHED)}").get,  # noqa: S608 - constants
        connection.execute("SELECT count(*) FROM receipts").get,
        connection.execute("SELECT count(*) FROM payments").get if _has_payments(connection) else None,
    )


def _has_payments(connection: apsw.Connection) -> bool:
    return bool(connection.pragma("user_version") >= _PAYMENTS_SINCE_VERSION)


def problems(connection: apsw.Connection, progress: Progress) -> Iterator[str]:
    """One sentence for each thing that is wrong with a database of ours; none if it is sound.

    What SQLite finds damaged may keep the rest from being read: that is a problem, too, and not an error.
    """
    for look in (_damage, _references, _broken_rules):
        yield from _as_far_as_readable(look(connection))
    yield from _as_far_as_readable(_bad_receipts(connection, progress))


def _as_far_as_readable(found: Iterator[str]) -> Iterator[str]:
    try:
        yield from found
    except (apsw.CorruptError, UnicodeDecodeError) as error:
        yield f"The database is damaged, and a part of it was not looked at: {error}."


def _damage(connection: apsw.Connection) -> Iterator[str]:
    for (finding,) in connection.execute("PRAGMA integrity_check"):
        if finding != "ok":
            yield "SQLite finds damage: " + " ".join(finding.split()).rstrip(".") + "."


def _references(connection: apsw.Connection) -> Iterator[str]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"Row {row} of {table} refers to something that is not in {parent}."


def _broken_rules(connection: apsw.Connection) -> Iterator[str]:
    version = connection.pragma("user_version")
    for rule in RULES:
        if version >= rule.since_version:
            for row in connection.execute(rule.sql):
                yield rule.sentence.format(*row)


def _bad_receipts(connection: apsw.Connection, progress: Progress) -> Iterator[str]:
    total = connection.execute("SELECT count(*) FROM receipts").get
    for number, row in enumerate(connection.execute(_RECEIPTS), 1):
        fault = _fault_of_receipt(*row)
        if fault is not None:
            yield f"The receipt of job {row[0]} is wrong: {fault}"
        progress(number, total)


def _fault_of_receipt(
    job_id: str,
    pubkey: str,
    receipt_json: bytes,
    signature: str,
    verified: int,
    result: bytes | None,
    payload: bytes,
    attempt: int,
) -> str | None:
    """What is wrong with a receipt. One that never passed for verified need only be about its own row."""
    try:
        if verified:
            signed = SignedReceipt(receipt_json, signature)
            verify_receipt(
                signed,
                job_id=job_id,
                output_json=result or b"",
                provider_pubkey=pubkey,
                request_hash=sha256_hex(payload),
                attempt=attempt,
            )
            return None
        receipt = decode_receipt(receipt_json)
    except ReceiptError as error:
        return str(error)
    if (receipt.job_id, receipt.provider_pubkey) != (job_id, pubkey):
        return "It names another job or another provider key than its row."
    return None
