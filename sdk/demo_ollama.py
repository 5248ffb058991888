"""Whether an Ollama server is there for the demo's inference job."""

from __future__ import annotations

from typing import Final

import httpx
import msgspec

from compute_router.sdk.http import usable_environment
from compute_router.sdk.settings import is_loopback

_TIMEOUT_S: Final = 3.0


class _Model(msgspec.Struct, frozen=True):
    name: str


class _Tags(msgspec.Struct, frozen=True):
    models: list[_Model]


def why_no_inference(ollama_url: str, transport: httpx.BaseTransport | None = None) -> str | None:
    """A sentence on why the Ollama server cannot run a job; None when it has a model.

    Raises:
        InvalidArgumentError: the environment names a proxy or certificates that cannot be used.
    """
    try:
        with usable_environment():
            new = httpx.Client(transport=transport, timeout=_TIMEOUT_S, trust_env=not is_loopback(ollama_url))
        with new as client:
            response = client.get(f"{ollama_url}/api/tags")
    except httpx.RequestError as error:
        return f"no Ollama server answers at {ollama_url} ({type(error).__name__})."
    if response.status_code != 200:
        return f"the server at {ollama_url} answers with HTTP status {response.status_code}."
    try:
        models = msgspec.json.decode(response.content, type=_Tags).models
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"the server at {ollama_url} does not answer like Ollama."
    return None if models else f"the Ollama server at {ollama_url} has no model."
