"""One coordinator for many examples of Hypothesis, with bystanders who must not notice any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from compute_router.protocol import errors
from tests.transport.harness import Coordinator, coordinator
from tests.transport.raw_http import RawConnection, connect, request
from tests.transport.worker_client import WorkerClient, worker

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
_HEALTH: Final = request("GET", "/v1/health")
# Statistics of workers, and that the coordinator lives, are written every few seconds, whoever comes.
_NOT_COUNTED: Final = {"sqlite_sequence", "worker_records", "coordinator_state"}


def _codes(kind: type[errors.ComputeRouterError]) -> Iterator[str]:
    yield kind.code
    for child in kind.__subclasses__():
        yield from _codes(child)


STABLE_CODES: Final = {*_codes(errors.ComputeRouterError), "forbidden_origin"} - {"internal_error"}
"""Every ``error`` that an answer may have. An internal error is a finding."""


@dataclass
class Stage:
    """A running coordinator, a worker that holds a job of its own, and an open HTTP connection."""

    runner: asyncio.Runner
    router: Coordinator
    bystander: WorkerClient
    http: RawConnection
    job_id: str
    rows: dict[str, int]

    def run(self, scene: Coroutine[Any, Any, T]) -> T:
        """Run one example on the coordinator's loop."""

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await scene

        return self.runner.run(bounded())

    async def nobody_noticed(self) -> None:
        """The bystanders are served as ever, and the database holds what it held."""
        await self.bystanders_are_served()
        rows = self._count_rows()
        assert rows == self.rows, f"{rows} instead of {self.rows}"

    async def bystanders_are_served(self) -> None:
        """Other connections live on, and so does the job of another worker."""
        held = {"job_id": self.job_id, "attempt": 1}
        pubkey = self.bystander.pubkey
        self.bystander.send({"type": "heartbeat", "provider_pubkey": pubkey, "jobs": [held]})
        await self.bystander.receive("heartbeat_ack")
        self.http.send(_HEALTH)
        assert (await self.http.answer()).json()["status"] == "ok"
        assert self.router.query("SELECT status FROM jobs WHERE id = ?", self.job_id) == [("assigned",)]

    def forget_what_was_stored(self) -> None:
        """What is stored now is what is held from here on."""
        self.rows = self._count_rows()

    def _count_rows(self) -> dict[str, int]:
        tables = [
            name for (name,) in self.router.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {table: self.router.count(table) for table in tables if table not in _NOT_COUNTED}


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Set everything up once, for all examples of a test."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def set_up() -> Stage:
            router = await stack.enter_async_context(coordinator(directory))
            bystander = await stack.enter_async_context(worker(router.port))
            http = await stack.enter_async_context(connect(router.port))
            await bystander.register(proven=True)
            job_id = await router.commit()
            assert (await bystander.receive("job_assign"))["job_id"] == job_id
            made = Stage(runner, router, bystander, http, job_id, {})
            made.forget_what_was_stored()
            return made

        try:
            yield runner.run(set_up())
        finally:
            runner.run(stack.aclose())
