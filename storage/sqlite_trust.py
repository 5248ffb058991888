"""The part of the SQLite store that knows about users and their trust."""

from __future__ import annotations

from compute_router.protocol.pairing import code_head
from compute_router.protocol.units import UnixMs, iso_from_unix_ms
from compute_router.storage import trust_queries as queries
from compute_router.storage.session import Session
from compute_router.storage.trust import ClaimRefusal, Pairing, TrustStore


class SqliteTrust(TrustStore):
    """See :class:`~compute_router.storage.trust.TrustStore`."""

    _session: Session

    def owner(self, user_id: str) -> str | None:
        token_hash: str | None = self._session.read(queries.OWNER, (user_id,))
        return token_hash

    def put_owner(self, user_id: str, token_hash: str, created_at: UnixMs) -> bool:
        return self._session.change(queries.PUT_OWNER, (user_id, token_hash, created_at))

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        self._session.change(
            queries.CREATE_PAIRING,
            (user_id, code, iso_from_unix_ms(created_at), iso_from_unix_ms(expires_at), code_head(code)),
        )

    def open_codes(self, user_id: str, now: UnixMs) -> int:
        count: int = self._session.read(queries.OPEN_CODES, (user_id, iso_from_unix_ms(now)))
        return count

    def delete_dead_codes(self, before: UnixMs, limit: int) -> int:
        return self._session.change_many(queries.DELETE_DEAD_CODES, (iso_from_unix_ms(before), limit))

    def claim_pairing(
        self, code: str, provider_pubkey: str, now: UnixMs, *, signed: bool = False
    ) -> Pairing | ClaimRefusal:
        user_id = self._session.change_returning(
            queries.CLAIM_PAIRING, (code, provider_pubkey, now, iso_from_unix_ms(now), signed)
        )
        if user_id is None:
            return self._refuse_claim(code, now)
        paired_at, ever_signed = self._session.read(queries.PAIRED_AT, (user_id, provider_pubkey))
        return _pairing(user_id, provider_pubkey, paired_at, ever_signed)

    def revoke_pairing(self, user_id: str, provider_pubkey: str) -> bool:
        return self._session.change_many(queries.REVOKE_PAIRING, (user_id, provider_pubkey)) > 0

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        found = self._session.rows(queries.PAIRINGS, (user_id,))
        return tuple(_pairing(user_id, *row) for row in found)

    def trusted_pubkeys(self, user_id: str) -> tuple[str, ...]:
        return tuple(pubkey for (pubkey,) in self._session.rows(queries.TRUSTED_PUBKEYS, (user_id,)))

    def _refuse_claim(self, code: str, now: UnixMs) -> ClaimRefusal:
        claimed = self._session.read(queries.PAIRING_CLAIMED, (code,))
        if claimed is None:
            self._session.change_many(queries.COUNT_WRONG_TRY, (code_head(code), iso_from_unix_ms(now)))
            return ClaimRefusal.INVALID_CODE
        return ClaimRefusal.ALREADY_CLAIMED if claimed else ClaimRefusal.EXPIRED


def _pairing(user_id: str, pubkey: str, paired_at: int, signed: int) -> Pairing:
    return Pairing(user_id=user_id, provider_pubkey=pubkey, paired_at=UnixMs(paired_at), signed=bool(signed))
