"""Whom one client pays."""

from __future__ import annotations

import threading

from compute_router.sdk.errors import UnacceptableOfferError


class Recipient:
    """The first address that something was signed for, and no other. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pay_to: str | None = None
        self._signing = 0
        self._signed = False

    def check(self, pay_to: str) -> None:
        """Whether money may go to an address.

        Raises:
            UnacceptableOfferError: it goes to another one.
        """
        with self._lock:
            self._check(pay_to)

    def hold(self, pay_to: str) -> None:
        """Something is about to be signed for an address; until it is, nobody else signs for another.

        Raises:
            UnacceptableOfferError: money goes to another one.
        """
        with self._lock:
            self._check(pay_to)
            self._pay_to = pay_to
            self._signing += 1

    def signed(self) -> None:
        """It was signed: from now on this is the address."""
        with self._lock:
            self._signing -= 1
            self._signed = True

    def not_signed(self) -> None:
        """It could not be signed."""
        with self._lock:
            self._signing -= 1
            if not self._signing and not self._signed:
                self._pay_to = None

    def _check(self, pay_to: str) -> None:
        if self._pay_to not in (None, pay_to):
            raise UnacceptableOfferError(
                f"The coordinator wants money for {pay_to}, and before for {self._pay_to}."
                " Nothing was signed. If the operator says that this is right, make a new client."
            )
