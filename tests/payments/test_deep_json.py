"""Deeply nested JSON is refused by every program that signs or settles; what it imports changes nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.networks import Chain
from tests.payments.test_facilitator_process import Process, start

__all__ = ["start"]

DEPTH: Final = 30_000
DEEP: Final = b"[" * DEPTH + b"]" * DEPTH


@pytest.mark.parametrize("where", ["body", "payment", "payload", "requirements"])
def test_a_facilitator_refuses_deep_json_and_lives(start: Callable[[], Process], where: str) -> None:
    deep = DEEP[: DEPTH - 100] + DEEP[-DEPTH + 100 :]
    body = {
        "body": deep,
        "payment": b'{"paymentPayload":' + deep + b',"paymentRequirements":{}}',
        "payload": b'{"paymentPayload":{"x402Version":2,"payload":{"a":'
        + deep
        + b'}},"paymentRequirements":{}}',
        "requirements": b'{"paymentPayload":{"x402Version":2},"paymentRequirements":' + deep + b"}",
    }[where]
    process = start()
    for path in ("/verify", "/settle"):
        status, answer = process.post(path, body)
        assert (status, answer["error"]) == (400, "invalid_body")
    assert process.get("/health")[0] == 200


async def deep_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(DEEP) + DEEP)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)
def test_a_payout_refuses_deep_json_in_a_sentence(tmp_path: Path, chain: Chain) -> None:
    key, admin = tmp_path / "payer.key", tmp_path / "admin.key"
    for path, text in ((key, a_key(chain)), (admin, "crk_000000000000_" + "A" * 43)):
        path.touch(mode=0o600)
        path.write_text(text)
    code, said = asyncio.run(paid_out(chain, key, admin))
    assert (code, said.count(b"\n")) == (1, 1), said
    assert said.startswith(b"compute-router payout: ")


async def paid_out(chain: Chain, key: Path, admin: Path) -> tuple[int | None, bytes]:
    """Exit code and errors of a payout whose coordinator and node answer nothing but brackets."""
    server = await asyncio.start_server(deep_answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "compute_router.sdk", "payout", "--execute", "--chain", chain.value, "--url", url),
            *("--rpc-url", url, "--key", str(key), "--api-key-file", str(admin)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
    return process.returncode, said


def a_key(chain: Chain) -> str:
    from solders.keypair import Keypair

    return "11" * 32 if chain is Chain.MONAD else json.dumps(list(bytes(Keypair())))


PROGRAM: Final = """
import sys
import msgspec
from compute_router.sdk import Wallet
before = sys.getrecursionlimit()
print(Wallet.from_file(sys.argv[1]).address)
try:
    msgspec.json.decode(b"[" * 200_000)
except RecursionError:
    print("refused", sys.getrecursionlimit() - before)
"""


@pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)
def test_a_program_with_a_wallet_refuses_deep_json_as_before(tmp_path: Path, chain: Chain) -> None:
    key = tmp_path / "wallet"
    key.touch(mode=0o600)
    key.write_text(a_key(chain))
    command = [sys.executable, "-c", PROGRAM, str(key)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[1:]) == (0, ["refused 0"]), ended.stderr
