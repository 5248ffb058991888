"""The SQL statements about what a coordinator remembers of itself, by name."""

from __future__ import annotations

from typing import Final

# Remember a number under a name.
PUT_STATE: Final = """
INSERT INTO coordinator_state (name, value) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

# The number under a name.
STATE: Final = "SELECT value FROM coordinator_state WHERE name = ?1"
