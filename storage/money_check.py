"""What must not be in the tables about money: a sentence about each find, and the query for its values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from compute_router.protocol.job_state import FINAL, UNFINISHED, JobStatus
from compute_router.protocol.ledger import HELD, RECEIVABLE, JournalKind
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState
from compute_router.protocol.payments import CREDIT_NETWORK
from compute_router.protocol.payout_state import PayoutState


def _words(values: Iterable[Enum]) -> str:
    return "(" + ", ".join(sorted(f"'{value.value}'" for value in values)) + ")"


def _has(*kinds: JournalKind) -> str:
    """That a journal of one of these kinds is kept of ``payment``."""
    return f"EXISTS (SELECT 1 FROM ledger WHERE journal IN {_names(kinds)})"  # noqa: S608 - constants


def _names(kinds: Iterable[JournalKind]) -> str:
    """The names of the journals of ``payment``."""
    return "(" + ", ".join(f"'{kind.value}:' || payment.payment_id" for kind in kinds) + ")"


def _payments(values: str, condition: str) -> str:
    return (
        f"SELECT {values} FROM payments AS payment LEFT JOIN jobs AS job ON job.id = payment.job_id "  # noqa: S608 - constants
        f"WHERE {condition} ORDER BY payment.rowid"
    )


def _balance(account: str, owed: str) -> str:
    return (
        f"SELECT have, want FROM (SELECT coalesce((SELECT amount FROM balances "  # noqa: S608 - constants
        f"WHERE account = '{account}'), 0) AS have, coalesce(({owed}), 0) AS want) WHERE have <> want"
    )


_OPEN: Final = _words(OPEN_PAYMENTS)
_FAILED: Final = _words(FINAL - {JobStatus.COMPLETED})
_OF_PAYMENTS: Final = tuple(kind for kind in JournalKind if kind is not JournalKind.PAYOUT)
_CAME: Final = _words([PaymentState.SETTLED, PaymentState.CREDITED])

MONEY_RULES: Final = (
    (
        "Payment {} has the unknown state {!r}.",
        _payments("payment_id, state", f"state NOT IN {_words(PaymentState)}"),
    ),
    (
        "Payout {} has the unknown state {!r}.",
        f"SELECT payout_id, state FROM payouts WHERE state NOT IN {_words(PayoutState)}",  # noqa: S608 - constants
    ),
    (
        "The ledger sums to {} and not to zero.",
        "SELECT sum(amount) FROM ledger HAVING sum(amount) <> 0",
    ),
    (
        "Journal {} sums to {} and not to zero.",
        "SELECT journal, sum(amount) FROM ledger GROUP BY journal HAVING sum(amount) <> 0",
    ),
    (
        "Account {} has the balance {}, and its entries sum to {}.",
        """
        SELECT posted.account, coalesce(balances.amount, 0), posted.amount
        FROM (SELECT account, sum(amount) AS amount FROM ledger GROUP BY account) AS posted
        LEFT JOIN balances ON balances.account = posted.account
        WHERE coalesce(balances.amount, 0) <> posted.amount
        UNION ALL
        SELECT account, amount, 0 FROM balances
        WHERE amount <> 0 AND account NOT IN (SELECT account FROM ledger)
        """,
    ),
    (
        "Of payments that are {} there are {} of {} by their tally, and {} of {}.",
        """
        SELECT state, coalesce(tally.payments, 0), coalesce(tally.amount, 0), found.payments, found.amount
        FROM (SELECT state, count(*) AS payments, sum(amount) AS amount FROM payments GROUP BY state) AS found
        LEFT JOIN payment_totals AS tally USING (state)
        WHERE (tally.payments, tally.amount) IS NOT (found.payments, found.amount)
        UNION ALL
        SELECT state, payments, amount, 0, 0 FROM payment_totals
        WHERE (payments, amount) <> (0, 0) AND state NOT IN (SELECT state FROM payments)
        """,
    ),
    (
        "The accounts {} come to {} by their tally, and to {}.",
        """
        SELECT kind, coalesce(ledger_totals.amount, 0), found.amount FROM (
            SELECT iif(account GLOB 'operator:*', account, substr(account, 1, instr(account || ':', ':') - 1))
            AS kind, sum(amount) AS amount FROM ledger GROUP BY 1
        ) AS found LEFT JOIN ledger_totals USING (kind)
        WHERE coalesce(ledger_totals.amount, 0) <> found.amount
        """,
    ),
    (
        "Account {} is overdrawn: {}.",
        (
            "SELECT account, amount FROM balances "
            "WHERE amount < 0 AND (account GLOB 'worker:*' OR account GLOB 'credit:*')"
        ),
    ),
    (
        "Job {} is paid for and has no payment.",
        "SELECT id FROM jobs WHERE paid AND NOT EXISTS (SELECT 1 FROM payments WHERE job_id = jobs.id)",
    ),
    ("Payment {} belongs to job {}, which is free.", _payments("payment_id, job.id", "NOT job.paid")),
    (
        "Payment {} is {} and its job is not there.",
        _payments("payment_id, state", f"state IN {_OPEN} AND job.id IS NULL"),
    ),
    (
        "Job {} is completed and payment {} has no journal of that.",
        _payments("job.id, payment_id", f"job.status = 'completed' AND NOT {_has(JournalKind.COMPLETION)}"),
    ),
    (
        "Payment {} has a journal of completion, and job {} is {}.",
        _payments(
            "payment_id, job.id, job.status", f"job.status <> 'completed' AND {_has(JournalKind.COMPLETION)}"
        ),
    ),
    (
        "Payment {} is of {}, and its journals are of another amount.",
        _payments(
            "payment_id, amount",
            f"EXISTS (SELECT 1 FROM ledger WHERE journal IN {_names(_OF_PAYMENTS)} "  # noqa: S608 - constants
            "GROUP BY journal HAVING sum(max(ledger.amount, 0)) <> payment.amount)",
        ),
    ),
    (
        "Payment {} is {} and has no journal of its settlement.",
        _payments(
            "payment_id, state",
            f"state IN {_CAME} AND NOT iif(network = '{CREDIT_NETWORK}', {_has(JournalKind.SPENDING)}, "
            f"{_has(JournalKind.SETTLEMENT, JournalKind.EARLY_SETTLEMENT, JournalKind.RECOVERY)})",
        ),
    ),
    (
        "Payment {} is {} and has a journal of its settlement.",
        _payments(
            "payment_id, state",
            f"state NOT IN {_CAME} "
            f"AND {_has(JournalKind.SETTLEMENT, JournalKind.EARLY_SETTLEMENT, JournalKind.RECOVERY)}",
        ),
    ),
    (
        "Payment {} was settled early for job {}, which is completed, and has no journal of delivery.",
        _payments(
            "payment_id, job.id",
            f"job.status = 'completed' AND {_has(JournalKind.EARLY_SETTLEMENT, JournalKind.SPENDING)} "
            f"AND NOT {_has(JournalKind.DELIVERY)}",
        ),
    ),
    (
        "Payment {} is void and job {} completed, and there is no journal of the loss.",
        _payments(
            "payment_id, job.id",
            f"job.status = 'completed' AND state = 'void' AND NOT {_has(JournalKind.LOSS)}",
        ),
    ),
    (
        "Payment {} is {} and its loss is not noted as its journals have it.",
        _payments(
            "payment_id, state",
            f"(lost_at_ms IS NOT NULL) <> ({_has(JournalKind.LOSS)} AND NOT {_has(JournalKind.RECOVERY)})",
        ),
    ),
    (
        "Payment {} has a journal that its loss was made good, and none of the loss.",
        _payments("payment_id", f"{_has(JournalKind.RECOVERY)} AND NOT {_has(JournalKind.LOSS)}"),
    ),
    (
        "Payment {} is {} and waits to be looked up as if it were void.",
        _payments("payment_id, state", "look_at_ms IS NOT NULL AND state <> 'void'"),
    ),
    (
        "Payment {} is {} and job {} is {}: its money was neither released nor given back.",
        _payments(
            "payment_id, state, job.id, job.status",
            f"job.status IN {_FAILED} AND state IN ('reserved', 'settled')",
        ),
    ),
    (
        "The receipt of job {} names the settlement {}, and payment {} was settled by {}.",
        """
        SELECT receipts.job_id, receipts.payment_ref, payment_id, transaction_ref
        FROM receipts JOIN payments ON payments.job_id = receipts.job_id
        WHERE receipts.payment_ref IS NOT payments.transaction_ref
        """,
    ),
    (
        "Payment {} is credited and there is no credit of it.",
        _payments(
            "payment_id",
            "state = 'credited' AND NOT EXISTS "
            "(SELECT 1 FROM credits WHERE credits.payment_id = payment.payment_id)",
        ),
    ),
    (
        "The credits of {} come to {}, and by the ledger to {}.",
        """
        SELECT payer, sum(amount_left), coalesce(balances.amount, 0)
        FROM credits LEFT JOIN balances ON balances.account = 'credit:' || payer
        GROUP BY payer HAVING sum(amount_left) <> coalesce(balances.amount, 0)
        UNION ALL
        SELECT substr(account, 8), 0, amount FROM balances
        WHERE account GLOB 'credit:*' AND amount <> 0
            AND substr(account, 8) NOT IN (SELECT payer FROM credits)
        """,
    ),
    (
        "The ledger holds {} for unfinished jobs, and they were paid {}.",
        _balance(
            HELD,
            "SELECT sum(amount) FROM payments JOIN jobs ON jobs.id = job_id "  # noqa: S608 - constants
            f"WHERE state = 'settled' AND status IN {_words(UNFINISHED)}",
        ),
    ),
    (
        "The ledger awaits {} for completed jobs, and their open payments make it {}.",
        _balance(
            RECEIVABLE,
            "SELECT -sum(amount) FROM payments JOIN jobs ON jobs.id = job_id "  # noqa: S608 - constants
            f"WHERE state IN {_OPEN} AND status = 'completed'",
        ),
    ),
    (
        "Payout {} is settled and has no journal.",
        (
            "SELECT payout_id FROM payouts WHERE state = 'settled' AND NOT EXISTS "
            "(SELECT 1 FROM ledger WHERE journal = 'payout:' || payout_id)"
        ),
    ),
    (
        "Payout {} is {} and has a journal.",
        (
            "SELECT payout_id, state FROM payouts WHERE state <> 'settled' AND EXISTS "
            "(SELECT 1 FROM ledger WHERE journal = 'payout:' || payout_id)"
        ),
    ),
    (
        "Payout {} is {} and has no transaction.",
        (
            "SELECT payout_id, state FROM payouts WHERE state IN ('sent', 'unknown', 'settled') "
            "AND (transaction_data IS NULL OR transaction_ref IS NULL)"
        ),
    ),
)
