"""``/v1/receipts/{job_id}``: a worker's receipt, countersigned; and whose key the countersigning one is."""

from __future__ import annotations

from compute_router.actors.messages.job_store import GetReceipt, ReceiptFacts
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.countersigning import COUNTERSIGN_VERSION, Countersigner
from compute_router.protocol.errors import JobUnfinishedError
from compute_router.protocol.http_api import CoordinatorAnswer, ReceiptAnswer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.receipts import RECEIPT_VERSION, SignedReceipt
from compute_router.transport.authentication import Authentication, only_user
from compute_router.transport.http_types import Answer, Request, json_answer
from compute_router.transport.job import checked_view
from compute_router.transport.paid_jobs import payment_ref, shown_view


class ReceiptResource:
    """Who may read a job may have its receipt.

    The statement is signed when it is asked for: it is the same each time, and most jobs are never asked
    about.
    """

    def __init__(self, system: System, authentication: Authentication, countersigner: Countersigner) -> None:
        self._system = system
        self._authentication = authentication
        self._countersigner = countersigner

    async def get(self, request: Request, job_id: str) -> Answer:
        caller = self._authentication.caller(request)
        facts: ReceiptFacts | None = await ask(self._system.store, GetReceipt(job_id))
        view = checked_view(None if facts is None else facts.view, only_user(caller))
        assert facts is not None, "else there was no view either"
        if view.payment is not None:
            # What is not paid for is withheld, and the receipt is part of it.
            shown = shown_view(view)
            if shown.status is not JobStatus.COMPLETED:
                raise JobUnfinishedError(
                    f"The job is {shown.status.value}; only completed jobs have receipts."
                )
        if facts.output_hash is None or facts.worker_pubkey is None or view.completed_at is None:
            raise JobUnfinishedError(f"The job is {view.status.value}; only completed jobs have receipts.")
        kept = view.receipt
        signed = None if kept is None else SignedReceipt(kept.receipt_json, kept.signature)
        verified = kept is not None and kept.verified
        countersigned = self._countersigner.sign(
            view.job_id,
            signed,
            verified=verified,
            completed_at=view.completed_at,
            output_hash=facts.output_hash,
        )
        return json_answer(
            ReceiptAnswer(
                job_id=view.job_id,
                network=self._countersigner.network,
                receipt=None if signed is None else signed.receipt_json.decode("utf-8"),
                signature=None if signed is None else signed.signature,
                provider_pubkey=facts.worker_pubkey,
                verified=verified,
                statement=countersigned.statement,
                coordinator_signature=countersigned.signature,
                coordinator_pubkey=self._countersigner.pubkey,
                payment_ref=payment_ref(view),
            )
        )


class CoordinatorResource:
    """``/.well-known/compute-router``: what a verifier has to know of a coordinator."""

    def __init__(self, countersigner: Countersigner) -> None:
        self._answer = json_answer(
            CoordinatorAnswer(
                network=countersigner.network,
                coordinator_pubkey=countersigner.pubkey,
                countersign=COUNTERSIGN_VERSION,
                receipts=RECEIPT_VERSION,
            )
        )

    async def get(self, request: Request, variable: str) -> Answer:
        return self._answer
