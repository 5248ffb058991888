"""The part of Solana's JSON-RPC that wallets, facilitators and chain readers use."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.hash import Hash
from solders.message import from_bytes_versioned
from solders.pubkey import Pubkey
from solders.token.state import TokenAccount
from solders.transaction import VersionedTransaction

from tools.local_chains.rpc_server import RpcError
from tools.local_chains.solana_chain import (
    BLOCKHASH_SLOTS,
    MINT,
    TOKEN_PROGRAM,
    Landed,
    SolanaChain,
    decoded,
    parsed_signature,
    token_account,
)

_DEVNET_GENESIS: Final = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
_RECENT_BLOCKHASHES: Final = "SysvarRecentB1ockHashes11111111111111111111"
_MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
_FINAL_AFTER: Final = 32  # slots
_FEE: Final = 5_000  # lamports for each signature
_DECIMALS: Final = 6
_EPOCH_SLOTS: Final = 432_000


class SolanaRpc:
    """Methods over a chain. All that happened is there at the commitment ``confirmed`` at once."""

    def __init__(self, chain: SolanaChain) -> None:
        self._chain = chain

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Every method by its name."""
        chain = self._chain
        return {
            "getHealth": lambda: "ok",
            "getVersion": lambda: {"solana-core": "2.1.0", "feature-set": 0},
            "getGenesisHash": lambda: _DEVNET_GENESIS,
            "getSlot": lambda *_: chain.slot,
            "getBlockHeight": lambda *_: chain.slot,
            "getFirstAvailableBlock": lambda: chain.oldest_slot,
            "getBlockTime": lambda slot: int(chain.now - (chain.slot - slot) * 0.4),
            "getEpochInfo": self._epoch,
            "getLatestBlockhash": self._latest_blockhash,
            "isBlockhashValid": lambda name, *_: self._at(chain.knows(Hash.from_string(name))),
            "getFeeForMessage": self._fee,
            "getMinimumBalanceForRentExemption": lambda size, *_: chain.rent(size),
            "getAccountInfo": lambda address, options=None: self._at(self._account(address, options)),
            "getMultipleAccounts": lambda addresses, options=None: self._at(
                [self._account(address, options) for address in addresses]
            ),
            "getBalance": self._balance,
            "getTokenAccountBalance": self._token_balance,
            "getTokenAccountsByOwner": self._token_accounts,
            "sendTransaction": self._send,
            "simulateTransaction": self._simulate,
            "getSignatureStatuses": self._statuses,
            "getSignaturesForAddress": self._signatures,
            "getTransaction": self._transaction,
            "requestAirdrop": self._airdrop,
        }

    def _at(self, value: Any) -> dict[str, Any]:
        return {"context": {"slot": self._chain.slot, "apiVersion": "2.1.0"}, "value": value}

    def _epoch(self, *_: Any) -> dict[str, int]:
        slot = self._chain.slot
        return {
            "absoluteSlot": slot,
            "blockHeight": slot,
            "epoch": slot // _EPOCH_SLOTS,
            "slotIndex": slot % _EPOCH_SLOTS,
            "slotsInEpoch": _EPOCH_SLOTS,
            "transactionCount": len(self._chain.landed),
        }

    def _latest_blockhash(self, *_: Any) -> dict[str, Any]:
        blockhash, last = self._chain.blockhash()
        return self._at({"blockhash": str(blockhash), "lastValidBlockHeight": last})

    def _fee(self, message: str, *_: Any) -> dict[str, Any]:
        signers = from_bytes_versioned(base64.b64decode(message)).header.num_required_signatures
        return self._at(_FEE * signers)

    def _account(self, address: str, options: dict[str, Any] | None) -> dict[str, Any] | None:
        if address == _RECENT_BLOCKHASHES:
            names = self._chain.newest_blockhashes()
            entries = b"".join(bytes(name) + _FEE.to_bytes(8, "little") for name in names)
            data = len(names).to_bytes(8, "little") + entries
            return _shown(Account(1, data, Pubkey.default()), "base64")
        account = self._chain.account(_key(address))
        if account is None or (account.lamports == 0 and not account.data):
            return None
        return _shown(account, (options or {}).get("encoding", "base64"))

    def _balance(self, address: str, *_: Any) -> dict[str, Any]:
        account = self._chain.account(_key(address))
        return self._at(account.lamports if account else 0)

    def _token_balance(self, address: str, *_: Any) -> dict[str, Any]:
        account = self._chain.account(_key(address))
        if account is None or account.owner != TOKEN_PROGRAM:
            raise RpcError(-32602, "Invalid param: could not find account")
        return self._at(_amount(TokenAccount.from_bytes(account.data).amount))

    def _token_accounts(
        self, owner: str, only: dict[str, str], options: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        asked_mint = only.get("mint", str(MINT)) == str(MINT)
        asked_program = only.get("programId", str(TOKEN_PROGRAM)) == str(TOKEN_PROGRAM)
        address = token_account(_key(owner))
        account = self._chain.account(address)
        if account is None or not (asked_mint and asked_program):
            return self._at([])
        shown = _shown(account, (options or {}).get("encoding", "base64"))
        return self._at([{"pubkey": str(address), "account": shown}])

    def _send(self, transaction: str, options: dict[str, Any] | None = None) -> str:
        chosen = options or {}
        raw = decoded(transaction, chosen.get("encoding", "base58"))
        return self._chain.send(raw, preflight=not chosen.get("skipPreflight", False))

    def _simulate(self, transaction: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        chosen = options or {}
        raw = decoded(transaction, chosen.get("encoding", "base58"))
        outcome = self._chain.simulate(
            VersionedTransaction.from_bytes(raw),
            sign_check=chosen.get("sigVerify", False),
            fresh_blockhash=chosen.get("replaceRecentBlockhash", False),
        )
        return self._at(
            {
                "err": outcome.error,
                "logs": outcome.logs,
                "unitsConsumed": outcome.units,
                "accounts": None,
                "returnData": None,
                "innerInstructions": None,
                "replacementBlockhash": None,
            }
        )

    def _statuses(self, signatures: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
        all_of_history = (options or {}).get("searchTransactionHistory", False)
        return self._at([self._status(signature, all_of_history) for signature in signatures])

    def _status(self, signature: str, all_of_history: bool) -> dict[str, Any] | None:
        landed = self._chain.landed.get(str(parsed_signature(signature)))
        if landed is None:
            return None
        age = self._chain.slot - landed.slot
        if age > BLOCKHASH_SLOTS and not all_of_history:
            return None  # nodes keep that many slots at hand
        final = age >= _FINAL_AFTER
        return {
            "slot": landed.slot,
            "confirmations": None if final else age + 1,
            "err": landed.error,
            "status": {"Ok": None} if landed.error is None else {"Err": landed.error},
            "confirmationStatus": "finalized" if final else "confirmed",
        }

    def _signatures(self, address: str, options: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        chosen = options or {}
        key = _key(address)
        found: list[dict[str, Any]] = []
        skipping = chosen.get("before") is not None
        for landed in reversed(self._chain.landed.values()):
            if landed.signature == chosen.get("until"):
                break
            if skipping:
                skipping = landed.signature != chosen["before"]
            elif key in landed.transaction.message.account_keys:
                found.append(self._listed(landed))
        return found[: chosen.get("limit") or 1000]

    def _listed(self, landed: Landed) -> dict[str, Any]:
        return {
            "signature": landed.signature,
            "slot": landed.slot,
            "err": landed.error,
            "memo": _memo(landed),
            "blockTime": landed.at,
            "confirmationStatus": "confirmed",
        }

    def _transaction(self, signature: str, options: Any = None) -> dict[str, Any] | None:
        landed = self._chain.landed.get(str(parsed_signature(signature)))
        if landed is None:
            return None
        encoding = options if isinstance(options, str) else (options or {}).get("encoding", "json")
        if encoding != "base64":
            raise RpcError(-32602, "this chain shows transactions in base64")
        return {
            "slot": landed.slot,
            "blockTime": landed.at,
            "version": 0,
            "transaction": [base64.b64encode(bytes(landed.transaction)).decode(), "base64"],
            "meta": {
                "err": landed.error,
                "status": {"Ok": None} if landed.error is None else {"Err": landed.error},
                "fee": _FEE * len(landed.transaction.signatures),
                "preBalances": [],
                "postBalances": [],
                "logMessages": landed.logs,
                "innerInstructions": [],
            },
        }

    def _airdrop(self, address: str, lamports: int, *_: Any) -> str:
        self._chain.give_lamports(_key(address), lamports)
        return "1" * 64


def _memo(landed: Landed) -> str | None:
    """All memos of a transaction, as nodes list them."""
    message = landed.transaction.message
    texts = [
        bytes(one.data).decode("utf-8", "replace")
        for one in message.instructions
        if message.account_keys[one.program_id_index] == _MEMO
    ]
    return "; ".join(f"[{len(text.encode())}] {text}" for text in texts) or None


def _shown(account: Account, encoding: str) -> dict[str, Any]:
    data: Any = [base64.b64encode(account.data).decode(), "base64"]
    if encoding == "jsonParsed" and account.owner == TOKEN_PROGRAM and len(account.data) == len(_BLANK):
        data = {"program": "spl-token", "parsed": _parsed(account.data), "space": len(account.data)}
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": data,
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
        "space": len(account.data),
    }


_BLANK: Final = bytes(165)  # a token account is that long


def _parsed(data: bytes) -> dict[str, Any]:
    token = TokenAccount.from_bytes(data)
    return {
        "type": "account",
        "info": {
            "mint": str(token.mint),
            "owner": str(token.owner),
            "state": "initialized",
            "isNative": False,
            "tokenAmount": _amount(token.amount),
        },
    }


def _amount(units: int) -> dict[str, Any]:
    value = units / 10**_DECIMALS
    return {
        "amount": str(units),
        "decimals": _DECIMALS,
        "uiAmount": value,
        "uiAmountString": f"{value:.{_DECIMALS}f}".rstrip("0").rstrip("."),
    }


def _key(address: str) -> Pubkey:
    try:
        return Pubkey.from_string(address)
    except ValueError:
        raise RpcError(-32602, "Invalid param: WrongSize") from None
