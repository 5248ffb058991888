"""``GET /`` without an upgrade: somebody opened the workers' address in a browser or with curl."""

from __future__ import annotations

from compute_router.protocol.errors import UpgradeRequiredError
from compute_router.transport.http_types import Answer, Request


class WorkerAddress:
    """Tells how to talk to this address."""

    async def get(self, request: Request, variable: str) -> Answer:
        raise UpgradeRequiredError("Workers connect here with a WebSocket; the HTTP API is below /v1.")
