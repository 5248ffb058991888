"""The chains that people start by hand."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.processes import ROOT, program

pytestmark = pytest.mark.acceptance

CHAINS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tools.local_chains.__main__ import main
sys.exit(main())
"""
ON_MONAD = "0x534b2f3A21130d7a60830c2Df862319e593943A3"
ON_SOLANA = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"


async def result(http: httpx.AsyncClient, url: str, method: str, *params: str) -> Any:
    answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return answer.json()["result"]


async def test_they_give_play_money_to_whom_they_are_told_and_end_when_told(tmp_path: Path) -> None:
    flags = ["--evm-port", "0", "--solana-port", "0", "--fund", ON_MONAD, "--fund", ON_SOLANA]
    async with program(["-c", CHAINS, *flags], tmp_path) as process:
        await process.line("Ctrl-C ends both")
        for address in (ON_MONAD, ON_SOLANA):
            assert f"{address} has $1 of play USDC, and gas" in process.stdout
        evm, solana = re.findall(r"listening on (\S+)", process.stdout)
        async with httpx.AsyncClient(trust_env=False) as http:
            on_monad = await result(http, evm, "eth_getBalance", ON_MONAD, "latest")
            assert int(on_monad, 16) > 0
            on_solana = await result(http, solana, "getBalance", ON_SOLANA)
            assert on_solana["value"] > 0
        assert await process.stop(signal.SIGINT) == 0


async def test_an_address_of_neither_chain_is_refused(tmp_path: Path) -> None:
    async with program(["-c", CHAINS, "--fund", "0x12"], tmp_path) as process:
        assert await process.ended() == 2
    assert "is not an address on Monad" in process.stderr
