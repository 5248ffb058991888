"""Clients in a closed loop: each sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from benchmarks.http_client import KeepAliveClient, get_request, post_request
from benchmarks.load_log import LoadLog, Seconds
from compute_router.protocol.http_api import CommitAnswer, CommitRequest
from compute_router.protocol.jobs import JobType, TaskType
from compute_router.sdk.idempotency import new_key

_HELLO: Final = get_request("/hello")
_COMMIT_ANSWERS: Final = msgspec.json.Decoder(CommitAnswer)
TASK_INPUT: Final = "The delivery came two days early and everything in the box was in perfect condition."
LONG_TOKENS: Final = 100_000
"""So many that the lease of the inference outlasts any measure."""

_COMPLETED: Final = b'"status":"completed"'
_VERIFIED: Final = b'"verified":true'
_NEVER: Final = -1


class ClosedLoopClient(KeepAliveClient):
    """Repeats one exchange until it has run as often as asked, or the log says to stop."""

    def __init__(self, log: LoadLog, repeats: int | None) -> None:
        super().__init__()
        self._log = log
        self._left = _NEVER if repeats is None else repeats
        self._started = 0.0
        self._ended = False

    def begin(self) -> None:
        """Send the first request of an exchange."""
        raise NotImplementedError

    def start(self) -> None:
        """Run the next exchange."""
        self._started = time.perf_counter()
        self.begin()

    def exchange_ended(self, failure: str | None = None) -> None:
        """Book the exchange, and start the next one if there is one."""
        if failure is None:
            self._log.succeed(Seconds(time.perf_counter() - self._started))
        else:
            self._log.fail(failure)
        self._left -= 1
        if self._left == 0 or self._log.stopping:
            self._end()
        else:
            self.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that the server closes too early is a failure."""
        if not self._ended:
            self._log.fail(f"the server closed a client's connection ({exc})")
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._log.client_ended()
        self.close()


class HelloClient(ClosedLoopClient):
    """Asks for the hello-world page."""

    def begin(self) -> None:
        """Ask."""
        self.send(_HELLO)

    def answered(self, status: int, body: bytes) -> None:
        """Check the answer."""
        self.exchange_ended(None if status == 200 else f"hello-world answered {status}")


class Seeker(ClosedLoopClient):
    """Commits a TASK job and waits for its verified result by long poll."""

    def __init__(self, log: LoadLog, repeats: int | None, user_id: str) -> None:
        super().__init__(log, repeats)
        self._commit = post_request("/v1/jobs/commit/cheap", commit_body(user_id))
        self._committing = False

    def begin(self) -> None:
        """Commit a job."""
        self._committing = True
        self.send(self._commit)

    def answered(self, status: int, body: bytes) -> None:
        """Wait for the job that was committed, or check its result."""
        if not self._committing:
            well = status == 200 and _COMPLETED in body and _VERIFIED in body
            self.exchange_ended(None if well else f"a result was answered {status} {body[:500]!r}")
        elif status == 201:
            self._committing = False
            self.send(get_request(f"/v1/jobs/{_COMMIT_ANSWERS.decode(body).job_id}?wait=30"))
        else:
            self.exchange_ended(f"a commit was answered {status} {body[:500]!r}")


class KeyedSeeker(Seeker):
    """Gives every commit an idempotency key of its own."""

    def __init__(self, log: LoadLog, repeats: int | None, user_id: str) -> None:
        super().__init__(log, repeats, user_id)
        line, _, self._after_key = self._commit.partition(b"\r\n")
        self._before_key = line + b"\r\nIdempotency-Key: "

    def begin(self) -> None:
        """Commit a job under a fresh key, as the SDK makes them."""
        key = new_key().encode()
        self._commit = self._before_key + key + b"\r\n" + self._after_key
        super().begin()


class Committer(ClosedLoopClient):
    """Commits long inferences, and does not wait for their results."""

    def __init__(self, log: LoadLog, repeats: int, user_id: str) -> None:
        super().__init__(log, repeats)
        self._commit = post_request(
            "/v1/jobs/commit/fast",
            msgspec.json.encode(
                CommitRequest(
                    job_type=JobType.LLM_INFER,
                    user_id=user_id,
                    payload=msgspec.Raw(msgspec.json.encode({"prompt": "Go on.", "max_tokens": LONG_TOKENS})),
                )
            ),
        )

    def begin(self) -> None:
        """Commit a job."""
        self.send(self._commit)

    def answered(self, status: int, body: bytes) -> None:
        """Go on with the next one."""
        self.exchange_ended(None if status == 201 else f"a commit was answered {status} {body[:500]!r}")


def commit_body(user_id: str) -> bytes:
    """Body of the commit of a small TASK job."""
    return msgspec.json.encode(
        CommitRequest(job_type=JobType.TASK, user_id=user_id, payload=msgspec.Raw(task_payload()))
    )


def task_payload() -> bytes:
    """Payload of a small TASK job."""
    return msgspec.json.encode({"task_type": TaskType.CLASSIFY, "input": TASK_INPUT})


Client = TypeVar("Client", bound=ClosedLoopClient)


async def connect_all(port: int, makers: list[Callable[[], Client]]) -> list[Client]:
    """Open a connection for every client; none has sent anything yet."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(make, "127.0.0.1", port))[1] for make in makers]
