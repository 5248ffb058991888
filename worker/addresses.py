"""The two addresses that a worker is given: the coordinator's and Ollama's."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from compute_router.protocol.errors import ConfigurationError


def check_http_url(url: str, flag: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ConfigurationError: it is not http(s)://host[:port][/path].
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ConfigurationError(f"{flag} must look like http://host:port, not {url!r}.")
    return url.rstrip("/")


def websocket_url(coordinator_url: str) -> str:
    """Where workers open their WebSocket: the root of the coordinator's address."""
    scheme, _, rest = coordinator_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/"


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine, which no proxy from the environment can reach."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
