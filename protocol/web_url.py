"""URLs that can be asked over HTTP, told from those that a program would only stumble over later."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_web_url(text: str) -> bool:
    """Whether this begins with http:// or https://, names a host, and has a port that there is, if any."""
    try:
        parts = urlsplit(text)
        # A bad bracket or port is an error here, and would be one of some library otherwise.
        port = parts.port
    except ValueError:
        return False
    named = parts.scheme in ("http", "https") and bool(parts.hostname)
    return named and port != 0 and text.isascii() and text.isprintable() and " " not in text
