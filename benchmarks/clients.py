"""Clients in a closed loop: each sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from benchmarks.http_client import KeepAliveClient, bearer_field, get_request, post_request
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
_COUNTERSIGNED: Final = b'"coordinator_signature":"'
_NEVER: Final = -1


class ClosedLoopClient(KeepAliveClient):
    """Repeats one exchange until it has run as often as asked, or the log says to stop.

    Its connection stays open: it may be sent off again, and whoever opened the connection closes it.
    """

    def __init__(self, log: LoadLog, repeats: int | None) -> None:
        super().__init__()
        self._log = log
        self._left = _NEVER if repeats is None else repeats
        self._started = 0.0
        self._ended = False

    def begin(self) -> None:
        """Send the first request of an exchange."""
        raise NotImplementedError

    def start_again(self, log: LoadLog) -> None:
        """Run exchanges until this other log says to stop; the client has ended what it did before."""
        self._log = log
        self._left = _NEVER
        self._ended = False
        self.start()

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


class HelloClient(ClosedLoopClient):
    """Asks for the hello-world page."""

    def begin(self) -> None:
        """Ask."""
        self.send(_HELLO)

    def answered(self, status: int, body: bytes) -> None:
        """Check the answer."""
        self.exchange_ended(None if status == 200 else f"hello-world answered {status}")


class Seeking(msgspec.Struct):
    """What the seekers of a load ask for; what is changed here holds from the next job on.

    With ``keyed`` every commit has a fresh idempotency key. With ``countersigned`` a seeker also fetches the
    receipt of each job, with the coordinator's signature.
    """

    keyed: bool = False
    countersigned: bool = False


class Seeker(ClosedLoopClient):
    """Commits a TASK job and waits for its verified result by long poll."""

    def __init__(
        self,
        log: LoadLog,
        repeats: int | None,
        user_id: str,
        seeking: Seeking | None = None,
        api_key: str | None = None,
        pays: Callable[[], bytes] | None = None,
    ) -> None:
        """``pays`` makes the header line with the payment of a commit, if jobs are paid for."""
        super().__init__(log, repeats)
        self._seeking = seeking or Seeking()
        self._pays = pays
        self._fields = "" if api_key is None else bearer_field(api_key)
        self._commit = post_request("/v1/jobs/commit/cheap", commit_body(user_id), self._fields)
        line, _, self._after_line = self._commit.partition(b"\r\n")
        self._line = line + b"\r\n"
        self._job_id = ""
        self._next: Callable[[int, bytes], None] = self._committed

    def begin(self) -> None:
        """Commit a job, with a key as the SDK makes them if one is asked for."""
        self._next = self._committed
        if not self._seeking.keyed and self._pays is None:
            self.send(self._commit)
            return
        key = b"Idempotency-Key: %b\r\n" % new_key().encode() if self._seeking.keyed else b""
        payment = b"" if self._pays is None else self._pays()
        self.send(self._line + key + payment + self._after_line)

    def answered(self, status: int, body: bytes) -> None:
        """Take the next step of the exchange."""
        self._next(status, body)

    def _committed(self, status: int, body: bytes) -> None:
        if status != 201:
            self.exchange_ended(f"a commit was answered {status} {body[:500]!r}")
            return
        self._job_id = _COMMIT_ANSWERS.decode(body).job_id
        self._next = self._finished
        self.send(get_request(f"/v1/jobs/{self._job_id}?wait=30", self._fields))

    def _finished(self, status: int, body: bytes) -> None:
        if status != 200 or _COMPLETED not in body or _VERIFIED not in body:
            self.exchange_ended(f"a result was answered {status} {body[:500]!r}")
        elif self._seeking.countersigned:
            self._next = self._countersigned
            self.send(get_request(f"/v1/receipts/{self._job_id}", self._fields))
        else:
            self.exchange_ended()

    def _countersigned(self, status: int, body: bytes) -> None:
        well = status == 200 and _VERIFIED in body and _COUNTERSIGNED in body
        self.exchange_ended(None if well else f"a receipt was answered {status} {body[:500]!r}")


class Browser(ClosedLoopClient):
    """Commits TASK jobs without paying, and is told each time what they cost."""

    def __init__(self, log: LoadLog, repeats: int | None, user_id: str) -> None:
        super().__init__(log, repeats)
        self._commit = post_request("/v1/jobs/commit/cheap", commit_body(user_id))

    def begin(self) -> None:
        """Commit a job."""
        self.send(self._commit)

    def answered(self, status: int, body: bytes) -> None:
        """Go on with the next one."""
        well = status == 402 and b'"payment_required"' in body
        self.exchange_ended(None if well else f"a commit was answered {status} {body[:500]!r}")


class Questioner(ClosedLoopClient):
    """Asks one kind of question with each of its bodies; all must be answered with yes."""

    def __init__(self, log: LoadLog, path: str, bodies: Sequence[bytes], yes: bytes) -> None:
        super().__init__(log, len(bodies))
        self._requests = iter([post_request(path, body) for body in bodies])
        self._yes = yes

    def begin(self) -> None:
        """Send the next one."""
        self.send(next(self._requests))

    def answered(self, status: int, body: bytes) -> None:
        """Check the answer."""
        well = status == 200 and self._yes in body
        self.exchange_ended(None if well else f"a question was answered {status} {body[:500]!r}")


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


def close_all(clients: Iterable[ClosedLoopClient]) -> None:
    """Close the connections of clients that have ended."""
    for client in clients:
        client.close()
