"""No test of the SDK reads or writes the trust file of whoever runs it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def trust_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the SDK keeps tokens and pinned keys in this test."""
    path = tmp_path / "trust" / "trust.json"
    monkeypatch.setenv("COMPUTE_ROUTER_TRUST_FILE", str(path))
    for name in ("WALLET", "WALLET_KEY", "RPC_URL"):
        monkeypatch.delenv(f"COMPUTE_ROUTER_{name}", raising=False)
    return path
