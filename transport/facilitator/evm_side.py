"""The x402 library's facilitator for EVM chains, with our signer below it."""

from __future__ import annotations

import msgspec
from x402.mechanisms.evm.constants import (
    ERR_TRANSACTION_FAILED,
    ERR_TRANSACTION_SIMULATION_FAILED,
    ERR_VALID_BEFORE_EXPIRED,
)
from x402.mechanisms.evm.exact import ExactEvmFacilitatorScheme, ExactEvmSchemeConfig

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYER_PREVENTS
from compute_router.transport.facilitator.attempt import AttemptPending
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.facilitator.evm_signer import EvmSigner
from compute_router.transport.facilitator.library_side import LibrarySide
from compute_router.transport.facilitator.node_words import node_problem
from compute_router.transport.facilitator.settling import LibraryAnswer


class EvmSide(LibrarySide):
    """Monad: transfers with an authorization (EIP-3009)."""

    def __init__(self, private_key: bytes, rpc_url: str, *, confirm_seconds: float = 30.0) -> None:
        """``private_key`` is 32 bytes.

        Raises:
            ValueError: it is no key.
        """
        self._evm = EvmSigner(private_key, rpc_url, confirm_seconds=confirm_seconds)
        # Without a trial right before, transactions would be sent that can only fail.
        config = ExactEvmSchemeConfig(simulate_in_settle=True)
        scheme = ExactEvmFacilitatorScheme(self._evm, config, pending_store=AttemptPending())
        super().__init__(Chain.MONAD, self._evm, scheme, "MON")

    def settle(self, question: Question) -> LibraryAnswer:
        """Have the library settle. It may raise anything."""
        answer = super().settle(question)
        return answer if answer.ok else msgspec.structs.replace(answer, reason=self._why(question, answer))

    def _why(self, question: Question, answer: LibraryAnswer) -> str:
        """The reason of a refusal, where it can be told more clearly whose doing it is."""
        authorization = question.payload["authorization"]
        if answer.transaction_ref:
            too_late = answer.reason == ERR_TRANSACTION_FAILED and self._evm.block_time(
                answer.transaction_ref
            ) >= int(authorization["validBefore"])
            return ERR_VALID_BEFORE_EXPIRED if too_late else answer.reason
        if answer.reason == ERR_TRANSACTION_SIMULATION_FAILED:
            payer, wanted = authorization["from"], question.requirements
            # Only a payer that is a contract has a say in his own transfer; but the token's issuer has, too.
            if self._evm.get_code(payer) and not self._evm.is_stopped(wanted.asset, payer, wanted.pay_to):
                return PAYER_PREVENTS
        return answer.reason

    def can_sign_another(self) -> bool:
        """An authorization is good for any transaction, until one has used it."""
        return True

    def carried_out_by(self, question: Question, failed: str) -> str | None:
        """The transaction of somebody else that carried out this payment while ours failed."""
        authorization, wanted = question.payload["authorization"], question.requirements
        return self._evm.carried_out_by(
            failed,
            wanted.asset,
            authorization["from"],
            authorization["nonce"],
            wanted.pay_to,
            int(wanted.amount),
        )

    def problem(self) -> str | None:
        """What keeps this facilitator from settling, in a sentence, or None."""
        expected = NETWORKS[self.chain].caip2.partition(":")[2]
        try:
            chain_id = self._evm.get_chain_id()
        except Exception as error:
            return node_problem(error, self.chain)
        if str(chain_id) != expected:
            return f"The node serves chain {chain_id}, and this facilitator chain {expected}."
        return super().problem()
