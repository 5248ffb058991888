"""Local chains as a process of their own, for programs that are not tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx

from tests.fakes.processes import ROOT


def test_both_chains_answer_until_they_are_told_to_stop() -> None:
    command = [sys.executable, "-m", "tools.local_chains", "--evm-port", "0", "--solana-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as chains:
        assert chains.stdout is not None
        evm, solana = (re.findall(r"http://\S+", chains.stdout.readline())[0] for _ in range(2))

        chain_id = httpx.post(evm, json={"id": 1, "method": "eth_chainId"}, trust_env=False)
        healthy = httpx.post(solana, json={"id": 1, "method": "getHealth"}, trust_env=False)

        chains.send_signal(signal.SIGTERM)
    assert (chain_id.json()["result"], healthy.json()["result"]) == ("0x279f", "ok")
    assert chains.returncode == 0
