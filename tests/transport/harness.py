"""A whole coordinator in the test's own event loop: actors, a SQLite file, and a real listening port."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import apsw
import httpx
from nacl.signing import SigningKey

from compute_router.actors.clock import Clock
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.system import Payments, System, start_system
from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.networks import NETWORKS, Chain, Network
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.app import HttpSettings, Server
from compute_router.transport.authentication import AuthMode, open_authentication
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.limits import AddressLimits
from tests.transport.disks import Disk

if TYPE_CHECKING:
    from compute_router.transport.payments.checkout import Checkout

NETWORK: Final = NETWORKS[Chain.SOLANA]
COUNTERSIGNER: Final = Countersigner(SigningKey(b"c" * 32), NETWORK.caip2)

QUICK: Final = MatchingPolicy(settle_delay=DurationMs(10), retry_backoff=DurationMs(10))
"""The real rules, with the two pauses short that tests would otherwise wait for."""

TASK: Final[dict[str, Any]] = {
    "job_type": "TASK",
    "user_id": "alice",
    "payload": {"task_type": "summarize", "input": "Some text."},
}
LLM: Final[dict[str, Any]] = {"job_type": "LLM_INFER", "user_id": "alice", "payload": {"prompt": "Why?"}}


def owner(user_id: str) -> dict[str, str]:
    """The header of whoever owns a user id in these tests, before and after restarts."""
    secret = base64.urlsafe_b64encode(hashlib.sha256(user_id.encode()).digest()).decode().rstrip("=")
    return {"Authorization": f"Bearer crt_{secret}"}


class Till(Protocol):
    """What makes a coordinator one that is paid."""

    @property
    def network(self) -> Network:
        """The chain that it serves."""

    @property
    def key(self) -> SigningKey:
        """The coordinator's own."""

    @property
    def payments(self) -> Payments:
        """What its actors are given."""

    def checkout(self, system: System) -> Checkout:
        """What its edge is given."""


@dataclass(frozen=True)
class Coordinator:
    """What a test sees of the coordinator: its port, an HTTP client, its long polls, database and actors.

    ``stop`` ends it in good order before the test does.
    """

    port: int
    http: httpx.AsyncClient
    watch: JobWatch
    database: Path
    system: System
    stop: Callable[[], Awaitable[None]]

    async def commit(self, tier: str = "cheap", **changes: Any) -> str:
        """Commit a job and return its id; a summary for alice unless ``changes`` say otherwise."""
        answer = await self.http.post(f"/v1/jobs/commit/{tier}", json=TASK | changes)
        assert answer.status_code == 201, answer.text
        assert list(answer.json()) == ["job_id"]
        return str(answer.json()["job_id"])

    async def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        """A job as its owner sees it; with ``wait``, once it has ended."""
        answer = await self.http.get(f"/v1/jobs/{job_id}", params={"wait": str(wait)} if wait else {})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def pair(self, user_id: str, pubkey: str) -> None:
        """Pair a worker's key with a user."""
        created = await self.http.post("/v1/trust/create", json={"user_id": user_id}, headers=owner(user_id))
        claim = {"pairing_code": created.json()["pairing_code"], "provider_pubkey": pubkey}
        assert (await self.http.post("/v1/trust/claim", json=claim)).status_code == 200

    async def problems(self) -> list[str]:
        """What is wrong with it, by its own account."""
        answer = (await self.http.get("/v1/health")).json()
        assert (answer["status"] == "degraded") == ("problems" in answer), answer
        return list(answer.get("problems", []))

    async def workers_online(self) -> int:
        """How many workers health counts."""
        return int((await self.http.get("/v1/health")).json()["workers_online"])

    def count(self, table: str) -> int:
        """Rows of a table, read from the database file beside the running store."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])

    def query(self, sql: str, *bindings: str) -> list[tuple[Any, ...]]:
        """Answer of an SQL query on the database file."""
        connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return list(connection.execute(sql, bindings))
        finally:
            connection.close()


@asynccontextmanager
async def coordinator(
    directory: Path,
    *,
    policy: MatchingPolicy = QUICK,
    max_body_bytes: int = 1024 * 1024,
    cors_origins: tuple[str, ...] = (),
    ws_origins: tuple[str, ...] = (),
    limits: AddressLimits | None = None,
    disk: Disk | None = None,
    auth: AuthMode = AuthMode.OPEN,
    clock: Clock | None = None,
    till: Till | None = None,
) -> AsyncIterator[Coordinator]:
    """Run a coordinator. At the end no actor may have died, and no long poll or stream may be left."""
    network = till.network if till else NETWORK
    database = directory / network.default_database
    open_store: Callable[[], Store] = partial(open_sqlite_store, database)
    watch = JobWatch()
    deaths: list[BaseException] = []
    system = await start_system(
        network=network,
        open_store=disk.opened(open_store) if disk else open_store,
        watchers=watch,
        on_death=deaths.append,
        policy=policy,
        clock=clock,
        payments=till.payments if till else None,
    )
    settings = HttpSettings(
        host="127.0.0.1",
        port=0,
        max_body_bytes=max_body_bytes,
        cors_origins=cors_origins,
        ws_origins=ws_origins,
        limits=limits or AddressLimits(),
    )
    authentication = await open_authentication(system, auth, settings.limits)
    countersigner = Countersigner(till.key, network.caip2) if till else COUNTERSIGNER
    checkout = till.checkout(system) if till else None
    server = Server(system, watch, settings, authentication, countersigner, checkout)
    stopping: list[asyncio.Task[None]] = []

    async def stop_all() -> None:
        await server.stop()
        await system.stop()

    async def stop() -> None:
        if not stopping:
            stopping.append(asyncio.ensure_future(stop_all()))
        await stopping[0]

    try:
        port = server.listen()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20.0
        ) as http:
            yield Coordinator(port, http, watch, database, system, stop)
        assert not deaths, f"an actor died: {deaths}"
        assert len(watch) == 0, "a long poll was left behind"
        assert len(authentication.ring) == 0, "something is held open for an API key"
    finally:
        await stop()
