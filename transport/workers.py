"""``GET /v1/workers``: who is connected, a page at a time. Nothing here leads to a job."""

from __future__ import annotations

from typing import Final

from compute_router.actors.messages.matcher import ConnectedWorker, ListWorkers, WorkersPage
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import RequestError
from compute_router.protocol.http_api import Worker, WorkersAnswer
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.transport.http_types import Answer, Request, json_answer

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 100
MODELS_SHOWN: Final = 32
_MAX_CURSOR_DIGITS: Final = 18


class WorkersResource:
    """Answers without touching the database; the cost depends on the page and not on the pool."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def get(self, request: Request, variable: str) -> Answer:
        limit, cursor = _limit(request.query("limit")), _cursor(request.query("cursor"))
        page: WorkersPage = await ask(self._system.matcher, ListWorkers(cursor, limit))
        following = None if page.last is None else str(page.last)
        return json_answer(WorkersAnswer([_worker(worker) for worker in page.workers], following))


def _worker(worker: ConnectedWorker) -> Worker:
    return Worker(
        provider_pubkey=worker.pubkey,
        provider_type=worker.provider_type,
        capabilities=sorted(worker.job_types, key=lambda job_type: job_type.value),
        models=list(worker.models[:MODELS_SHOWN]),
        slots=worker.slots,
        busy=worker.busy,
        proven=worker.proven,
        since=iso_from_unix_ms(worker.since),
    )


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise RequestError(f"limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _cursor(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_CURSOR_DIGITS):
        raise RequestError("cursor must be the next_cursor of an earlier answer.")
    return int(text)
