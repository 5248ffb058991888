"""Compares four books when all is calm: the seekers', the workers', the chain's, and the coordinator's file.

The file is read with plain SQL, and nothing of the coordinator's own code says what it should hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import apsw
import msgspec

from tests.chaos.journal import Journal
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.purses import Purse

FEE_BPS = 500
_OPEN = ("reserved", "settling", "unknown")
_OPEN_PAYOUTS = ("recorded", "sent", "unknown")


class Transfer(msgspec.Struct, frozen=True):
    """Money that moved on the chain; ``name`` is the payment's id, or the worker's address of a payout."""

    name: str
    amount: int
    reference: str


class ChainBook(msgspec.Struct, frozen=True):
    """What the chain says: transfers to the operator, transfers to workers, and what has become of balances.

    ``gone`` is what each payer has less than at first, ``came`` what the operator has more, ``wages`` what
    each worker's address has.
    """

    payments: Sequence[Transfer]
    payouts: Sequence[Transfer]
    gone: Mapping[str, int]
    came: int
    wages: Mapping[str, int]


class WorkersBook(msgspec.Struct, frozen=True):
    """``accepted``: job ids to the key that was told so. ``addresses``: keys to where their money goes."""

    accepted: Mapping[str, str]
    addresses: Mapping[str, str]


class _Kept(msgspec.Struct, frozen=True):
    payment_id: str
    payer: str
    network: str
    amount: int
    state: str
    reference: str | None
    job_id: str
    status: str
    worker: str | None

    @property
    def delivered(self) -> bool:
        return self.status == "completed"


_PAYMENTS = """
SELECT p.payment_id, p.payer, p.network, p.amount, p.state, p.transaction_ref, j.id, j.status, j.worker_pubkey
FROM payments AS p JOIN jobs AS j ON j.id = p.job_id
"""


class Books:
    """One comparison. ``lies`` are payments that were called settled and are not."""

    def __init__(
        self,
        journal: Journal,
        file: apsw.Connection,
        purses: Sequence[Purse],
        chain: ChainBook,
        workers: WorkersBook,
        lies: frozenset[str] = frozenset(),
    ) -> None:
        self._journal = journal
        self._file = file
        self._purses = purses
        self._chain = chain
        self._workers = workers
        self._kept = [_Kept(*row) for row in file.execute(_PAYMENTS)]
        self._moved = {transfer.name: transfer for transfer in chain.payments}
        self._believed = [
            one
            for one in self._kept
            if one.payment_id in lies - set(self._moved) and one.state in ("settled", "credited")
        ]

    def compare(self, *, paid_out: bool = True) -> None:
        """Check every promise. ``paid_out``: all that can be paid to workers has been.

        Raises:
            Violation: one is broken.
        """
        self._nobody_is_charged_twice()
        self._nobody_pays_for_nothing()
        self._no_credit_is_lost()
        self._every_worker_is_credited()
        self._the_ledger_is_zero()
        self._the_chain_is_the_ledger()
        self._everything_is_decided()
        self._every_payout_is_carried_out_once(paid_out=paid_out)

    # The promises

    def _nobody_is_charged_twice(self) -> None:
        promise = MoneyPromise.NOT_TWICE
        names = Counter(transfer.name for transfer in self._chain.payments)
        for name, times in names.items():
            self._check(promise, times == 1, f"{name} moved money {times} times.")
        price: dict[str, int] = {}
        for purchase in (one for purse in self._purses for one in purse.purchases):
            charged = [name for name in purchase.signed if name in names]
            self._check(promise, len(charged) < 2, f"{purchase.job_id} was paid for by {charged}.")
            price |= dict.fromkeys(purchase.signed, purchase.price)
        for transfer in self._chain.payments:
            signed = price.get(transfer.name)
            self._check(
                promise, signed == transfer.amount, f"{transfer} was moved, and {signed} was signed for it."
            )

    def _nobody_pays_for_nothing(self) -> None:
        promise = MoneyPromise.DELIVERED
        known = {one.payment_id: one for one in self._kept}
        for transfer in self._chain.payments:
            one = known.get(transfer.name)
            self._check(promise, one is not None, f"the file does not know of {transfer}.")
            assert one is not None
            wanted = "settled" if one.delivered else "credited"
            self._check(promise, one.state == wanted, f"{transfer} was made, and there is {one}.")
            self._check(promise, one.reference == transfer.reference, f"{one} names another than {transfer}.")
        unpaid = {one.payment_id for one in self._believed} | set(self._moved)
        for one in self._kept:
            if one.network != "credit" and one.payment_id not in unpaid:
                self._check(promise, one.state == "void", f"no money moved, and there is {one}.")
        jobs = {one.job_id: one for one in self._kept}
        for purchase in (one for purse in self._purses for one in purse.purchases if one.job_id):
            assert purchase.job_id is not None
            one = jobs.get(purchase.job_id)
            self._check(
                promise,
                one is not None and (one.payer, one.amount) == (purchase.payer, purchase.price),
                f"{purchase.job_id} was sold to {purchase.payer} for {purchase.price}, the file has {one}.",
            )

    def _no_credit_is_lost(self) -> None:
        promise = MoneyPromise.CREDITS
        left = dict(self._sums("SELECT payer, sum(amount_left) FROM credits GROUP BY payer"))
        came, spent = Counter[str](), Counter[str]()
        for one in self._kept:
            if one.payment_id in self._moved or one in self._believed:
                came[one.payer] += one.amount
            if one.delivered and one.state == "settled":
                spent[one.payer] += one.amount
        for payer in came | spent | Counter(left):
            self._check(
                promise,
                came[payer] == spent[payer] + left.get(payer, 0),
                f"{payer} gave {came[payer]}, got jobs for {spent[payer]}, and has {left.get(payer)} left.",
            )
        by_ledger = dict(
            self._sums("SELECT substr(account, 8), amount FROM balances WHERE account GLOB 'credit:*'")
        )
        for payer in {*left, *by_ledger}:
            self._check(
                promise,
                left.get(payer, 0) == by_ledger.get(payer, 0),
                f"{payer} has {left.get(payer)} of credit, and by the ledger {by_ledger.get(payer)}.",
            )

    def _every_worker_is_credited(self) -> None:
        promise = MoneyPromise.WORKERS
        earned, fees = Counter[str](), 0
        for one in self._kept:
            if one.delivered:
                fee = one.amount * FEE_BPS // 10_000
                assert one.worker is not None
                earned[one.worker] += one.amount - fee
                fees += fee
        # Audits, which nobody pays for, are accepted, too.
        completed = set(self._file.execute("SELECT id, worker_pubkey FROM jobs WHERE status = 'completed'"))
        for job_id, pubkey in self._workers.accepted.items():
            self._check(
                promise,
                (job_id, pubkey) in completed,
                f"{pubkey[:8]} was told that its {job_id} is accepted.",
            )
        booked = self._accounts("worker:") + self._accounts("payout:")
        for pubkey in {*earned, *booked}:
            self._check(
                promise,
                earned[pubkey] == booked[pubkey],
                f"{pubkey[:8]} earned {earned[pubkey]}, and {booked[pubkey]} is booked.",
            )
        self._check(promise, self._account("operator:fees") == fees, f"the fees are {fees}.")

    def _the_ledger_is_zero(self) -> None:
        promise = MoneyPromise.ZERO
        total = self._file.execute("SELECT coalesce(sum(amount), 0) FROM ledger").get
        self._check(promise, total == 0, f"it sums to {total}.")
        for journal, total in self._file.execute(
            "SELECT journal, sum(amount) FROM ledger GROUP BY journal HAVING sum(amount) <> 0"
        ):
            self._check(promise, False, f"{journal} sums to {total}.")
        for account in ("held", "receivable"):
            total = self._account(account)
            self._check(promise, total == 0, f"{account} is {total} though no job is under way.")

    def _the_chain_is_the_ledger(self) -> None:
        promise = MoneyPromise.CHAIN
        given = Counter[str]()
        payer_of = {one.payment_id: one.payer for one in self._kept}
        for transfer in self._chain.payments:
            given[payer_of[transfer.name]] += transfer.amount
        for payer, gone in self._chain.gone.items():
            self._check(promise, given[payer] == gone, f"{payer} has {gone} less, and gave {given[payer]}.")
        total = given.total()
        self._check(promise, self._chain.came == total, f"the operator got {self._chain.came} of {total}.")
        for one in self._believed:
            given[one.payer] += one.amount
        booked = self._accounts("payer:")
        for payer in {*given, *booked}:
            self._check(
                promise,
                given[payer] == -booked[payer],
                f"{payer} gave {given[payer]}, and {-booked[payer]} is booked.",
            )
        paid = self._accounts("payout:")
        for pubkey, address in self._workers.addresses.items():
            wage = self._chain.wages.get(address, 0)
            self._check(promise, wage == paid[pubkey], f"{address} has {wage}, booked is {paid[pubkey]}.")

    def _everything_is_decided(self) -> None:
        for one in self._kept:
            self._check(MoneyPromise.DECIDED, one.state not in _OPEN, f"there is {one}.")

    def _every_payout_is_carried_out_once(self, *, paid_out: bool) -> None:
        promise = MoneyPromise.PAYOUTS
        rows = list(self._file.execute("SELECT address, amount, transaction_ref, state FROM payouts"))
        settled = Counter(
            (address, amount, ref) for address, amount, ref, state in rows if state == "settled"
        )
        carried_out = Counter((one.name, one.amount, one.reference) for one in self._chain.payouts)
        self._check(promise, settled == carried_out, f"{settled - carried_out} or {carried_out - settled}.")
        for one in carried_out:
            self._check(promise, carried_out[one] == 1, f"{one} was carried out twice.")
        if not paid_out:
            return
        for address, amount, _, state in rows:
            self._check(promise, state not in _OPEN_PAYOUTS, f"{amount} for {address} is {state}.")
        owed = self._accounts("worker:")
        for pubkey in self._workers.addresses:
            self._check(promise, owed[pubkey] == 0, f"{pubkey[:8]} is still owed {owed[pubkey]}.")

    # How

    def _check(self, promise: MoneyPromise, kept: bool, detail: str) -> None:
        self._journal.money(promise, kept, detail)

    def _sums(self, sql: str) -> Iterable[tuple[str, int]]:
        return list(self._file.execute(sql))

    def _accounts(self, prefix: str) -> Counter[str]:
        """Balances of the accounts with a prefix, from the entries themselves."""
        rows = self._file.execute(
            "SELECT substr(account, ?), sum(amount) FROM ledger WHERE account GLOB ? GROUP BY account",
            (len(prefix) + 1, prefix + "*"),
        )
        found = Counter[str]()
        for name, amount in rows:
            found[name] = amount
        return found

    def _account(self, name: str) -> int:
        total: int = self._file.execute(
            "SELECT coalesce(sum(amount), 0) FROM ledger WHERE account = ?", (name,)
        ).get
        return total
