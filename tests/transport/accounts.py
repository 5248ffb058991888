"""A coordinator that wants API keys, and seekers who have some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from compute_router.actors.clock import Clock
from compute_router.protocol.api_keys import KeyRequest, KeyScope
from compute_router.protocol.units import UnixMs
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.authentication import AuthMode
from compute_router.transport.limits import AddressLimits
from tests.transport.harness import NETWORK, TASK, Coordinator, coordinator

STRANGER = "crk_000000000000_" + "A" * 43
"""A key of the right form that nobody made."""


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that carries a key; none for None."""
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


@dataclass(frozen=True)
class Accounts:
    """A coordinator, and its first admin key."""

    router: Coordinator
    admin: str

    async def ask(
        self, method: str, path: str, api_key: str | None = None, body: Any = None
    ) -> httpx.Response:
        """Send a request with a key, or with none."""
        return await self.router.http.request(method, path, json=body, headers=bearer(api_key))

    async def make_key(self, user_id: str | None = "alice", **fields: Any) -> str:
        """Make a key through the API; an admin key when the user is None."""
        wanted = {"scope": "user", "user_id": user_id} if user_id else {"scope": "admin"}
        answer = await self.ask("POST", "/v1/keys", self.admin, wanted | fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    async def revoke(self, api_key: str) -> None:
        """Revoke a key through the API."""
        answer = await self.ask("DELETE", f"/v1/keys/{key_id(api_key)}", self.admin)
        assert answer.status_code == 200, answer.text

    async def commit(self, api_key: str | None, **changes: Any) -> httpx.Response:
        """Commit a summary for alice, but for the changes."""
        return await self.ask("POST", "/v1/jobs/commit/cheap", api_key, TASK | changes)

    async def job_id(self, api_key: str, **changes: Any) -> str:
        """Commit a job that must be taken; its id."""
        answer = await self.commit(api_key, **changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])


def key_id(api_key: str) -> str:
    """The part of a key that names it."""
    return api_key.split("_")[1]


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must say a sentence, too."""
    assert set(answer.json()) == {"error", "message"}, answer.text
    return answer.status_code, str(answer.json()["error"])


def first_admin_key(directory: Path) -> str:
    """An admin key made beside the coordinator, in its database."""
    database = directory / NETWORK.default_database
    if not database.exists():
        open_sqlite_store(database).close()
    return make_api_key(database, KeyRequest(KeyScope.ADMIN), UnixMs(1))


@asynccontextmanager
async def accounts(
    directory: Path,
    mode: AuthMode = AuthMode.KEYS,
    clock: Clock | None = None,
    limits: AddressLimits | None = None,
) -> AsyncIterator[Accounts]:
    """Run a coordinator whose database has an admin key."""
    admin = first_admin_key(directory)
    async with coordinator(directory, auth=mode, clock=clock, limits=limits) as router:
        yield Accounts(router, admin)
