"""How requests travel: httpx clients with explicit time-outs, and what their errors mean for a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.fallback import Fallback
from compute_router.sdk.settings import is_loopback
from compute_router.sdk.steps import Answered, Call, NotReached

CONNECT_TIMEOUT_S: Final = 5.0
# httpx looks at every idle connection at every request: with 500 jobs at once, 100 kept ones cost 2.5 times
# the processor time of 20.
_KEPT_CONNECTIONS: Final = 20

# With these the request was not written to any connection.
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def coordinator_options(base_url: str, api_key: str | None = None) -> dict[str, Any]:
    """Arguments of the httpx client that talks to the coordinator; only this one carries the API key."""
    return _options(base_url, {"Authorization": f"Bearer {api_key}"} if api_key is not None else {})


def fallback_options(fallback: Fallback) -> dict[str, Any]:
    """Arguments of the httpx client that talks to the hosted fallback; only this one carries the key."""
    key = fallback.api_key
    return _options(fallback.base_url, {"Authorization": f"Bearer {key}"} if key is not None else {})


@contextmanager
def usable_environment() -> Iterator[None]:
    """Make httpx clients in here: they take proxies and certificates from the environment.

    Raises:
        InvalidArgumentError: those cannot be used.
    """
    try:
        yield
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        raise InvalidArgumentError(
            f"The proxy or the certificates that the environment names cannot be used: {error}"
        ) from None


def request_options(request: Call) -> dict[str, Any]:
    """Arguments of ``client.request`` for a call."""
    options: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "timeout": httpx.Timeout(request.read_timeout_s, connect=CONNECT_TIMEOUT_S),
    }
    headers: dict[str, str] = dict(request.headers)
    if request.body is not None:
        options["content"] = request.body
        headers["Content-Type"] = "application/json"
    if request.idempotency_key is not None:
        headers["Idempotency-Key"] = request.idempotency_key
    if request.bearer is not None:
        headers["Authorization"] = f"Bearer {request.bearer}"
    return options | {"headers": headers}


def answered(response: httpx.Response) -> Answered:
    """An httpx response as a reply."""
    return Answered(response.status_code, response.content, dict(response.headers))


def not_reached(error: httpx.RequestError) -> NotReached:
    """An httpx error as a reply."""
    kind = type(error).__name__
    cause = f"{kind}: {error}" if str(error) else kind
    url = error.request.url
    return NotReached(
        f"no answer from {url.scheme}://{url.netloc.decode()} ({cause}).",
        may_have_arrived=not isinstance(error, _NEVER_SENT),
    )


def _options(base_url: str, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "base_url": base_url,
        "headers": {"User-Agent": "compute-router-sdk", "Accept": "application/json", **headers},
        # A proxy cannot reach this machine's loopback addresses.
        "trust_env": not is_loopback(base_url),
        # Every job that is waited for holds a connection, so a bound would make submissions wait for results.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
    }
