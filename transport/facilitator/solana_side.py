"""The x402 library's facilitator for Solana, with our signer below it."""

from __future__ import annotations

import warnings

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.transport.facilitator.attempt import AttemptPending
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.facilitator.library_side import LibrarySide
from compute_router.transport.facilitator.node_words import node_problem
from compute_router.transport.facilitator.solana_signer import SolanaSigner

with warnings.catch_warnings():
    # solana announces changes of its own; nothing else is silenced.
    warnings.simplefilter("ignore", FutureWarning)
    from x402.mechanisms.svm.exact import ExactSvmFacilitatorScheme


class SolanaSide(LibrarySide):
    """Solana: transactions of the payer for which this facilitator pays the fee."""

    def __init__(self, keypair: bytes, rpc_url: str, *, confirm_seconds: float = 30.0) -> None:
        """``keypair`` is 64 bytes.

        Raises:
            ValueError: it is no keypair.
        """
        self._solana = SolanaSigner(keypair, rpc_url, confirm_seconds=confirm_seconds)
        scheme = ExactSvmFacilitatorScheme(self._solana, pending_store=AttemptPending())
        super().__init__(Chain.SOLANA, self._solana, scheme, "SOL")

    def can_sign_another(self) -> bool:
        """The payer has signed this very transaction, which lands once."""
        return False

    def problem(self) -> str | None:
        """What keeps this facilitator from settling, in a sentence, or None."""
        expected = NETWORKS[self.chain].caip2.partition(":")[2]
        try:
            cluster = self._solana.genesis_hash()[: len(expected)]
        except Exception as error:
            return node_problem(error, self.chain)
        if cluster != expected:
            return f"The node serves cluster {cluster}, and this facilitator cluster {expected}."
        return super().problem()

    def carried_out_by(self, question: Question, failed: str) -> str | None:
        """Nobody else can: the facilitator's own signature is part of each transaction."""
        return None
