"""The x402 library's facilitator for EVM chains, with our signer below it."""

from __future__ import annotations

from x402.mechanisms.evm.exact import ExactEvmFacilitatorScheme, ExactEvmSchemeConfig

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.transport.facilitator.attempt import AttemptPending
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.facilitator.evm_signer import EvmSigner
from compute_router.transport.facilitator.library_side import LibrarySide


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
            return f"The chain's node cannot be asked ({type(error).__name__})."
        if str(chain_id) != expected:
            return f"The node serves chain {chain_id}, and this facilitator chain {expected}."
        return super().problem()
