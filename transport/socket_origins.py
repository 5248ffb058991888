"""Which web pages may open the workers' WebSocket.

Browsers let any page open a WebSocket to any address and tell only the page's origin (RFC 6455, section
10.2). Programs send no origin and are let in, or, like some phones, that of the address they connect to.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

_ANY: Final = "*"
_LOCALHOST: Final = "localhost"


class SocketOrigins:
    """The origins that an operator named; ``*`` stands for all.

    The coordinator's own address, as the ``Host`` header tells it, needs no naming while it is an IP address
    or ``localhost``. A name is another matter: whoever owns a name can point it at this machine, and his page
    is then of the same origin to a browser (DNS rebinding).
    """

    def __init__(self, named: tuple[str, ...] = ()) -> None:
        self._named = frozenset(origin.lower() for origin in named)

    def allow(self, origin: str | None, host: str | None) -> bool:
        """Whether a handshake with these headers may go on; None stands for a header that is not there."""
        if origin is None or _ANY in self._named:
            return True
        origin = origin.lower()
        return origin in self._named or (host is not None and _is_own(origin, host.lower()))


def _is_own(origin: str, host: str) -> bool:
    try:
        page = urlsplit(origin)
        name = page.hostname
    except ValueError:
        return False
    if page.scheme not in ("http", "https") or page.netloc != host or name is None:
        return False
    if name == _LOCALHOST:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
