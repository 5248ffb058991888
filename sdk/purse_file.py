"""What a user's machine remembers of money: credits, jobs that may become one, and payments that were sent.

One JSON file, readable by its owner alone. A coordinator is known by its address::

    {"version": 1, "coordinators": {"http://…": {
        "credits": [{"token": "crc_...", "left": 10000}],
        "awaited": {"<job id>": {"since": 1.0, "look_at": 1.0, "dies_at": 1.0, "token": "crc_...", ...}},
        "payments": {"<sha256 of the idempotency key>": {"request": "<sha256>", "payment": "...", ...}}}}}
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.errors import WalletError
from compute_router.sdk.private_file import PrivateFile

_MOST_SPENT_CREDITS: Final = 200
_MOST_AWAITED: Final = 2000
_LONGEST_PAYMENTS: Final = 1024 * 1024
"""Characters of all payments at one coordinator, which chooses how long they are."""


class SentPayment(msgspec.Struct, frozen=True):
    """A payment that was signed for one commit. ``payment`` is the text of its header.

    ``request`` is the SHA-256 hex of the commit; after ``dies_at`` (seconds since 1970) the payment is void.
    """

    request: str
    payment: str
    amount: MicroUsd
    dies_at: float

    def __repr__(self) -> str:
        """Nothing of the authorization."""
        return f"SentPayment(amount={self.amount})"


class AwaitedJob(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A paid job whose end nobody saw yet, or whose payment may still become a credit.

    Times are seconds since 1970: paid at ``since``, to be looked at from ``look_at`` on, and its payment
    cannot be carried out after ``dies_at``. ``token`` pays for another job once this one is credited, and not
    before; then no more than ``amount`` is left of it, if that is known.
    """

    since: float
    look_at: float
    dies_at: float
    token: str | None = None
    amount: MicroUsd | None = None

    def __repr__(self) -> str:
        """Nothing of the token."""
        return f"AwaitedJob(since={self.since}, look_at={self.look_at}, amount={self.amount})"


class _Credit(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    left: int


class _Place(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    credits: list[_Credit] = []
    awaited: dict[str, AwaitedJob] = {}
    payments: dict[str, SentPayment] = {}

    def drop_dead(self, now: float) -> None:
        """Forget payments that nobody can carry out any more."""
        self.payments = {name: sent for name, sent in self.payments.items() if sent.dies_at > now}

    def drop_oldest(self, longest: int) -> None:
        """Forget the oldest payments as long as all together have more characters than that."""
        length = sum(len(sent.payment) for sent in self.payments.values())
        for name in list(self.payments)[:-1]:
            if length <= longest:
                return
            length -= len(self.payments.pop(name).payment)

    def credit(self, token: str) -> _Credit | None:
        """What is known of a token."""
        return next((credit for credit in self.credits if credit.token == token), None)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    coordinators: dict[str, _Place] = {}

    def place(self, url: str) -> _Place:
        """What is known at a coordinator, for reading."""
        return self.coordinators.get(url) or _Place()

    def place_to_change(self, url: str) -> _Place:
        """What is known at a coordinator, in its place."""
        return self.coordinators.setdefault(url, _Place())


_CONTENTS: Final = msgspec.json.Decoder(_Content)


class PurseFile:
    """Credits and sent payments at one coordinator. Any number of programs may share one file.

    Every call raises WalletError: the file cannot be read or written, others may read it or it belongs to
    another user of the machine, or it is damaged.
    """

    def __init__(self, path: Path, url: str, now_s: Callable[[], float]) -> None:
        self._url = url
        self._now_s = now_s
        self._file = PrivateFile(
            path,
            name="purse",
            empty=lambda: _Content(1),
            decode=_CONTENTS.decode,
            error=WalletError,
            when_damaged="Restore it from a backup, or move it away: credits of failed jobs can be had again"
            " with the API key of their user, or by repeating a commit under its idempotency key.",
            instead="It is kept beside the trust file: see COMPUTE_ROUTER_TRUST_FILE.",
        )

    def __repr__(self) -> str:
        """The path alone."""
        return f"PurseFile({str(self._file.path)!r})"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    def credits(self) -> list[MicroUsd]:
        """What is left of each credit."""
        return [MicroUsd(credit.left) for credit in self._here().credits if credit.left > 0]

    def credit_for(self, price: MicroUsd) -> str | None:
        """The smallest credit that covers a price."""
        enough = [credit for credit in self._here().credits if credit.left >= price]
        return min(enough, key=lambda credit: credit.left).token if enough else None

    def keep_credit(self, token: str, amount: MicroUsd) -> None:
        """Keep a new credit. One that is known already may be spent by now, and stays as it is."""
        if self._here().credit(token) is not None:
            return

        self._file.change(lambda content: _keep(content.place_to_change(self._url), token, amount))

    def spend_credit(self, token: str, price: MicroUsd) -> None:
        """A job was paid with a credit."""
        self._set_left(token, lambda left: max(0, left - price))

    def credit_was_short(self, token: str, price: MicroUsd) -> None:
        """The coordinator says that less than a price is left of a credit."""
        self._set_left(token, lambda left: min(left, price - 1))

    def awaited(self) -> dict[str, AwaitedJob]:
        """Paid jobs that may yet become a credit, by their ids; the oldest first."""
        return dict(self._here().awaited)

    def await_job(self, job_id: str, job: AwaitedJob) -> None:
        """Look at a job again before a payment. Of one that is known only the time to do so changes."""

        def add(content: _Content) -> None:
            awaited = content.place_to_change(self._url).awaited
            known = awaited.get(job_id)
            if known is not None and known.token is not None:
                awaited[job_id] = msgspec.structs.replace(known, look_at=job.look_at)
            else:
                awaited[job_id] = job
            for oldest in list(awaited)[:-_MOST_AWAITED]:
                del awaited[oldest]

        self._file.change(add)

    def decided(self, job_id: str) -> None:
        """There will be no credit of a job."""
        if job_id in self._here().awaited:
            self._file.change(lambda content: _drop(content.place_to_change(self._url), job_id))

    def credited(self, job_id: str, token: str, amount: MicroUsd) -> None:
        """A job became a credit, which can be spent from now on."""

        def change(content: _Content) -> None:
            place = content.place_to_change(self._url)
            _keep(place, token, amount)
            _drop(place, job_id)

        place = self._here()
        if place.credit(token) is None or job_id in place.awaited:
            self._file.change(change)

    def payment(self, idempotency_key: str) -> SentPayment | None:
        """The payment that was signed for a commit, if it can still be carried out."""
        sent = self._here().payments.get(_name(idempotency_key))
        return sent if sent is not None and sent.dies_at > self._now_s() else None

    def put_payment(self, idempotency_key: str, sent: SentPayment) -> SentPayment:
        """Keep the payment of a commit. Returns the one that is kept: another program may have been first."""

        def put(content: _Content) -> SentPayment:
            place = content.place_to_change(self._url)
            now = self._now_s()
            for each in content.coordinators.values():
                each.drop_dead(now)
            kept = place.payments.setdefault(_name(idempotency_key), sent)
            place.drop_oldest(_LONGEST_PAYMENTS)
            return kept

        return self._file.change(put)

    def _here(self) -> _Place:
        return self._file.read().place(self._url)

    def _set_left(self, token: str, left: Callable[[int], int]) -> None:
        def change(content: _Content) -> None:
            credit = content.place_to_change(self._url).credit(token)
            if credit is not None:
                credit.left = left(credit.left)

        self._file.change(change)


def _keep(place: _Place, token: str, amount: MicroUsd) -> None:
    if place.credit(token) is None:
        place.credits.append(_Credit(token, amount))
    spent = [credit for credit in place.credits if credit.left <= 0]
    for credit in spent[:-_MOST_SPENT_CREDITS]:
        place.credits.remove(credit)


def _drop(place: _Place, job_id: str) -> None:
    place.awaited.pop(job_id, None)


def _name(idempotency_key: str) -> str:
    return sha256_hex(idempotency_key.encode("ascii"))
