"""Why a server was not asked: in words that say neither its URL nor the names that a library has for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from compute_router.transport.payments.json_rpc import JsonRpc, NodeError
from compute_router.transport.payments.peer import NoAnswerError, Peer, why_no_answer

KEY = ConnectionKey("secret.example", 443, True, True, None, None, None)
Speaks = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Speaks:
    """A server that reads a question, says this and hangs up."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    return speak


async def told(method: str, url: str) -> str:
    peer = Peer(connections=1, largest_answer=100)
    try:
        with pytest.raises(NoAnswerError) as failed:
            await peer.ask(method, url, None, 10.0)
    finally:
        await peer.close()
    return str(failed.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the connection ended without an answer"),
        (b"220 mail.example ESMTP\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1", "no answer of HTTP"),
    ],
)
async def test_what_is_no_answer_is_told_in_words(answer: bytes, why: str) -> None:
    server = await asyncio.start_server(saying(answer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await told("POST", f"http://127.0.0.1:{port}/?key=secret") == why


async def test_a_server_that_is_not_there_is_told_in_words() -> None:
    assert await told("GET", "http://127.0.0.1:9/secret") == "no connection"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError("secret")), "its name is not known"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("secret")), "no secure connection"),
        (aiohttp.ClientConnectorCertificateError(KEY, Exception("secret")), "no secure connection"),
        (aiohttp.ClientConnectorError(KEY, OSError("secret")), "no connection"),
        (ConnectionResetError("secret"), "the connection ended without an answer"),
        (ValueError("secret"), "no answer of HTTP"),
    ],
)
def test_each_failure_has_its_words(error: Exception, why: str) -> None:
    assert why_no_answer(error) == why


def test_a_node_that_does_not_know_a_method_may_be_one_of_another_chain() -> None:
    assert str(NodeError("eth_chainId", -32601, "secret")) == (
        "The chain's node does not know eth_chainId: it may be one of another chain; see --rpc-url."
    )
    assert "error -32000" in str(NodeError("eth_chainId", -32000, "secret"))


async def test_a_node_without_a_name_is_told_in_a_sentence() -> None:
    node = JsonRpc("http://127.0.0.1:9/secret")
    with pytest.raises(Exception, match=r"cannot be asked for eth_chainId \(no connection\)\."):
        await node.call("eth_chainId")
    await node.close()
