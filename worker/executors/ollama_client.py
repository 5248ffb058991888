"""Making clients for Ollama that talk to the address they were given and to nothing else."""

from __future__ import annotations

import ssl
from typing import Final

import httpx
import ollama

from compute_router.worker.addresses import is_loopback

CONNECT_SECONDS: Final = 5.0

# Loading the certificates takes far longer than making a client.
_TLS: Final = ssl.create_default_context()


def ollama_client(url: str, read_seconds: float) -> ollama.Client:
    """A client that waits at most ``read_seconds`` for each piece of an answer.

    The address is explicit, because the client would otherwise take it from ``OLLAMA_HOST``; and proxies
    from the environment are not used for this machine itself.
    """
    return ollama.Client(
        host=url,
        timeout=_timeout(read_seconds),
        follow_redirects=False,
        trust_env=not is_loopback(url),
        verify=_TLS,
    )


def async_ollama_client(url: str, read_seconds: float) -> ollama.AsyncClient:
    """The same for asyncio: its requests can be cancelled at any moment, which closes their connection."""
    return ollama.AsyncClient(
        host=url,
        timeout=_timeout(read_seconds),
        follow_redirects=False,
        trust_env=not is_loopback(url),
        verify=_TLS,
    )


def _timeout(read_seconds: float) -> httpx.Timeout:
    return httpx.Timeout(read_seconds, connect=min(CONNECT_SECONDS, read_seconds))


def runs_elsewhere(model: str) -> bool:
    """Whether Ollama would send prompts for this model to its cloud; such models have a tag in ``cloud``."""
    _, _, tag = model.rpartition(":")
    return tag == "cloud" or tag.endswith("-cloud")
