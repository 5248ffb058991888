"""Where the packages of payments are not installed, every program says so in a sentence, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.payment_packages import install_command

KEY: Final = "1f" * 32
ADDRESS: Final = "0x534b2f3A21130d7a60830c2Df862319e593943A3"
WITHOUT_PACKAGES: Final = """
import sys

MISSING = {"aiohttp", "coincurve", "Crypto", "eth_account", "solana", "solders", "web3", "x402"}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "compute_router.transport.facilitator", "--chain", "monad", "--key", "gas.key"],
        ["-m", "compute_router.transport.payer", "--execute", "--chain", "monad", "--key", "gas.key"],
        ["-m", "run_coordinator", "--chain", "monad", "--payments", "on", "--pay-to", ADDRESS],
        ["-m", "compute_router.sdk", "wallet", "create", "--chain", "monad", "--wallet", "new.key"],
        ["-m", "compute_router.sdk", "wallet", "create", "--chain", "solana", "--wallet", "new.key"],
    ],
    ids=["facilitator", "payout", "coordinator", "wallet on Monad", "wallet on Solana"],
)
def test_every_program_says_what_to_install(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGES)
    for name, text in (("gas.key", KEY), ("admin.key", f"crk_{'a' * 12}_{'b' * 43}")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    if "--execute" in words:
        words = [*words, "--api-key-file", "admin.key"]
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert f"Run: {install_command()}" in ended.stderr
