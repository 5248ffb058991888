"""Whether money can arrive: on Solana the address of ``--pay-to`` needs a token account, made by somebody."""

from __future__ import annotations

from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc
from compute_router.transport.payments.solana_programs import token_account

_NOTHING_OF_IT = {"encoding": "base64", "commitment": "confirmed", "dataSlice": {"offset": 0, "length": 0}}


class ReceivingAccount:
    """The USDC account of one address on Solana."""

    def __init__(self, rpc: JsonRpc, owner: str, asset: str) -> None:
        self._rpc = rpc
        self._owner = owner
        self._account = token_account(owner, asset)

    async def close(self) -> None:
        """Give up the connection to the node."""
        await self._rpc.close()

    async def problem(self) -> str | None:
        """None, or why no payment can arrive and what to do. A chain that cannot be read shows no problem."""
        try:
            answer = await self._rpc.call("getAccountInfo", self._account, _NOTHING_OF_IT)
        except ChainUnreadableError:
            return None
        if isinstance(answer, dict) and "value" in answer and answer["value"] is None:
            return (
                f"The address {self._owner} of --pay-to has no USDC account yet, so no payment can arrive; "
                "send it any USDC once, which makes the account."
            )
        return None
