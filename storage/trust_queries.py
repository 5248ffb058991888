"""Every SQL statement about users and the worker keys that they trust, by name."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.pairing import MAX_WRONG_TRIES
from compute_router.storage.trust import LOCKED as _LOCKED

# What is kept of the token of a user's owner.
OWNER: Final = "SELECT token_hash FROM users WHERE user_id = ?1"

# Make somebody the owner of a user, or lock the user, unless there is an owner.
PUT_OWNER: Final = f"""
INSERT INTO users (user_id, token_hash, created_at_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, created_at_ms = excluded.created_at_ms
WHERE users.token_hash = '{_LOCKED}' AND excluded.token_hash <> '{_LOCKED}'
"""  # noqa: S608 - a constant of the store

# Keep a new, unclaimed pairing code.
CREATE_PAIRING: Final = """
INSERT INTO trust_pairings (id, user_id, pairing_code, created_at, expires_at, code_head)
VALUES (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, ?5)
"""

# How many of a user's codes are neither claimed nor expired.
OPEN_CODES: Final = """
SELECT count(*) FROM trust_pairings WHERE user_id = ?1 AND claimed = 0 AND expires_at > ?2
"""

# Forget some codes that expired unclaimed before a time.
DELETE_DEAD_CODES: Final = """
DELETE FROM trust_pairings WHERE rowid IN (
    SELECT rowid FROM trust_pairings WHERE claimed = 0 AND expires_at < ?1 LIMIT ?2
)
"""

# Use up a pairing code that is neither claimed nor expired nor burnt; answers whose it is.
CLAIM_PAIRING: Final = f"""
UPDATE trust_pairings SET claimed = 1, provider_pubkey = ?2, claimed_at_ms = ?3, claim_signed = ?5
WHERE pairing_code = ?1 AND claimed = 0 AND expires_at > ?4 AND wrong_tries < {MAX_WRONG_TRIES}
RETURNING user_id
"""  # noqa: S608 - a constant of the protocol

# Whether a pairing code exists that is not burnt, and whether it was used.
PAIRING_CLAIMED: Final = f"""
SELECT claimed FROM trust_pairings
WHERE pairing_code = ?1 AND (claimed = 1 OR wrong_tries < {MAX_WRONG_TRIES})
"""  # noqa: S608 - as above

# Count a wrong try for the codes that could have been meant.
COUNT_WRONG_TRY: Final = """
UPDATE trust_pairings SET wrong_tries = wrong_tries + 1
WHERE code_head = ?1 AND claimed = 0 AND expires_at > ?2
"""

# End a user's trust in one worker key.
REVOKE_PAIRING: Final = """
DELETE FROM trust_pairings WHERE user_id = ?1 AND provider_pubkey = ?2 AND claimed = 1
"""

# Since when a user trusts one worker key, and whether that key ever signed for it.
PAIRED_AT: Final = """
SELECT min(claimed_at_ms), max(claim_signed) FROM trust_pairings
WHERE user_id = ?1 AND provider_pubkey = ?2 AND claimed = 1
"""

# The worker keys that a user trusts.
TRUSTED_PUBKEYS: Final = """
SELECT DISTINCT provider_pubkey FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 ORDER BY provider_pubkey
"""

# The worker keys that a user trusts, since when, and whether they signed for it; oldest first.
PAIRINGS: Final = """
SELECT provider_pubkey, min(claimed_at_ms) AS paired_at, max(claim_signed) FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 GROUP BY provider_pubkey ORDER BY paired_at, provider_pubkey
"""
