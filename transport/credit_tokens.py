"""Who is shown the token of a credit: whoever committed the job, and never its worker.

A worker knows the id of its job, the user and the whole request. So the token, which is like money, is shown
to the API key that owns the job, or to a request with the ``Idempotency-Key`` of the commit, which no worker
sees.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from compute_router.protocol.credit_token import credit_token, hash_credit_token
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import PaymentView
from compute_router.protocol.receipts import sha256_hex
from compute_router.storage.interface import ApiKey, JobView
from compute_router.transport.http_types import Request
from compute_router.transport.idempotency import HEADER

ShowToken = Callable[[JobView], str | None]
"""The token of the credit that a job became, for one asker; None: there is none, or it is not the asker's."""


class CreditTokens:
    """Makes tokens with ``secret``, the 32-byte seed of the coordinator's key; without it there are none."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        """Nothing of the secret."""
        return "CreditTokens()"

    def given(self, payment_id: str) -> str:
        """The token for whoever commits: worth nothing unless the payment becomes a credit."""
        assert self._secret is not None, "who is not paid gives no credit"
        return credit_token(self._secret, payment_id)

    def kept(self, payment_id: str) -> str:
        """What the store keeps of that token."""
        return hash_credit_token(self.given(payment_id))

    def shown_to(self, request: Request, caller: ApiKey | None) -> ShowToken:
        """What a request may see. ``caller`` is its API key, None in the open mode."""
        if self._secret is None:
            return _show_none
        keys = request.headers.get_list(HEADER) if HEADER in request.headers else []
        shown_hash = commit_key_hash(keys[0]) if len(keys) == 1 else None
        user_id = None if caller is None else caller.user_id

        def show(view: JobView) -> str | None:
            payment = view.payment
            if payment is None or payment.state is not PaymentState.CREDITED:
                return None
            owns = user_id is not None and user_id == view.user_id
            return self.given(payment.payment_id) if owns or _committed(payment, shown_hash) else None

        return show


def commit_key_hash(key: str) -> str:
    """What is kept with a payment of its commit's ``Idempotency-Key``: SHA-256 hex."""
    return sha256_hex(key.encode())


def _show_none(view: JobView) -> str | None:
    return None


def _committed(payment: PaymentView, shown_hash: str | None) -> bool:
    kept = payment.commit_key_hash
    return None not in (kept, shown_hash) and hmac.compare_digest(str(kept), str(shown_hash))
