"""What a facilitator of our own can do, on each of the local chains, with real signatures and settlements.

The chains run beside it on this machine, so on EVM the chain is a good part of what is measured; the
facilitator's own processor time is given too.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from eth_account import Account
from solders.keypair import Keypair

from benchmarks.clients import Questioner, close_all, connect_all
from benchmarks.figures import Figure
from benchmarks.load import wait_until_ended
from benchmarks.load_log import LoadLog
from benchmarks.scale import Scale
from benchmarks.servers import Server, local_chains, local_facilitator
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.wallet_signing import open_signer
from compute_router.transport.payments.offers import Offers

_AT_ONCE: Final = 16
_PRICE: Final = MicroUsd(10_000)
_MONEY: Final = 1_000_000_000
_YES: Final = {"/verify": b'"isValid":true', "/settle": b'"success":true'}
_DOES: Final = {"/verify": "verifications", "/settle": "settlements"}


async def facilitator_rate(scale: Scale) -> list[Figure]:
    """Verify and then settle the same payments, on one chain after the other."""
    solana_port = _free_port()
    figures = []
    async with local_chains(solana_port) as chains:
        for chain, port in ((Chain.MONAD, chains.port), (Chain.SOLANA, solana_port)):
            figures += await _on(chain, f"http://127.0.0.1:{port}", scale.facilitated)
    return figures


async def _on(chain: Chain, rpc_url: str, count: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="compute-router-benchmark-") as directory:
        path = Path(directory) / "gas.key"
        address = _write_key(chain, path)
        await asyncio.to_thread(_ask_chain, rpc_url, "local_fundGas", address)
        async with local_facilitator(chain, rpc_url, path) as server:
            bodies = await asyncio.to_thread(_questions, chain, rpc_url, address, count)
            return [await _rate(chain, server, ask, bodies) for ask in ("/verify", "/settle")]


async def _rate(chain: Chain, server: Server, path: str, bodies: list[bytes]) -> Figure:
    log = LoadLog(_AT_ONCE)
    makers: list[Callable[[], Questioner]] = [
        partial(Questioner, log, path, bodies[first::_AT_ONCE], _YES[path]) for first in range(_AT_ONCE)
    ]
    clients = await connect_all(server.port, makers)
    started, before = time.perf_counter(), server.cpu()
    for client in clients:
        client.start()
    await wait_until_ended(log)
    took, cpu = log.ended_at - started, server.cpu() - before
    close_all(clients)
    log.raise_failures()
    return Figure(
        f"local facilitator on {NETWORKS[chain].label}'s local chain, {_AT_ONCE} at once: {_DOES[path]}",
        f"{len(bodies) / took:,.0f}/s, {cpu / len(bodies) * 1e3:,.1f} ms of its processor time each",
    )


def _questions(chain: Chain, rpc_url: str, fee_payer: str, count: int) -> list[bytes]:
    """So many signed payments of one seeker, as they are sent to a facilitator."""
    seeker, seeker_key = _new_account(chain)
    pay_to, _ = _new_account(chain)
    _ask_chain(rpc_url, "local_fund", seeker, _MONEY)
    _ask_chain(rpc_url, "local_fund", pay_to, 0)
    offered = Offers(chain, pay_to).offered(
        _PRICE, "http://localhost/", fee_payer if chain is Chain.SOLANA else None
    )
    signer = open_signer(chain, seeker_key, rpc_url)
    wanted = offered.requirement
    return [
        msgspec.json.encode(
            {
                "x402Version": 2,
                "paymentPayload": {"x402Version": 2, "accepted": wanted, "payload": signer.sign(wanted)},
                "paymentRequirements": wanted,
            }
        )
        for _ in range(count)
    ]


def _new_account(chain: Chain) -> tuple[str, bytes]:
    """Address and key of a new account."""
    if chain is Chain.MONAD:
        account = Account.create()
        return account.address, bytes(account.key)
    keypair = Keypair()
    return str(keypair.pubkey()), bytes(keypair)


def _write_key(chain: Chain, path: Path) -> str:
    address, key = _new_account(chain)
    path.touch(mode=0o600)
    path.write_text(key.hex() if chain is Chain.MONAD else json.dumps(list(key)))
    return address


def _ask_chain(rpc_url: str, method: str, *params: Any) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = httpx.post(rpc_url, json=asked, trust_env=False, timeout=10.0).json()
    assert "error" not in answer, answer["error"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
