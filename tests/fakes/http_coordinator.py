"""A scripted coordinator for clients: played through an httpx transport, or on a real port by Tornado.

It answers quotes, commits and cancels by the protocol, keeps idempotency keys, signs real receipts, and
says about its job whatever the test scripted. No thread and no port are used until
:meth:`FakeCoordinator.serving` is entered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

import httpx
import msgspec
import tornado.httpserver
import tornado.netutil
import tornado.web
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, Policy, resolve_tier
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.pricing import price
from compute_router.protocol.receipts import attach_proof, public_key_hex, sign_receipt
from compute_router.protocol.units import UnixMs, format_usd

if TYPE_CHECKING:
    from tests.fakes.till import FakeTill

T = TypeVar("T")

JOB_ID = "0b7e1c5a-9f7c-4a57-8d35-6d1f6f8f8c11"
WORKER_KEY = SigningKey(bytes(range(32)))
WORKER_PUBKEY = public_key_hex(WORKER_KEY)
FALLBACK_HOST = "fallback.example"
CREATED_AT = "2026-02-09T12:00:00.000Z"
COMPLETED_AT = "2026-02-09T12:00:05.000Z"

Answer = tuple[int, bytes]


@dataclass(frozen=True)
class Headed:
    """An answer with headers."""

    answer: Answer
    headers: dict[str, str]


@dataclass(frozen=True)
class LostAnswer:
    """The job is taken, and then the connection breaks."""

    error: Exception


Reply = Answer | Headed | Exception
CommitReply = Reply | LostAnswer | None
"""None: as the protocol says."""


class FakeClock:
    """A clock that moves only when somebody waits on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    host: str
    path: str
    query: str
    body: bytes
    authorization: str | None
    idempotency_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    """All of them, with names in lower case."""

    @property
    def paid(self) -> bool:
        """Whether a payment or a credit came with it."""
        return bool({"payment-signature", "payment-credit"} & self.headers.keys())

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.body)


def job_answer(
    status: str, result: bytes = b"null", receipt: bytes = b"null", job_id: str = JOB_ID
) -> Answer:
    """Answer about a job, from raw parts."""
    completed_at = f'"{COMPLETED_AT}"' if status in ("completed", "failed", "cancelled") else "null"
    text = (
        b'{"id":"%s","status":"%s","result":' % (job_id.encode(), status.encode())
        + result
        + b',"receipt":'
        + receipt
        + b',"created_at":"%s","completed_at":%s}' % (CREATED_AT.encode(), completed_at.encode())
    )
    return 200, text


def signed_receipt(output: bytes, job_id: str = JOB_ID, *, claimed: bool = True) -> bytes:
    """A receipt for an output as job answers show it; ``claimed`` is what the coordinator says of it."""
    signed = sign_receipt(WORKER_KEY, job_id, output, UnixMs(1_770_638_405_000))
    return attach_proof(signed.receipt_json, signed.signature, verified=claimed)


def completed(output: bytes) -> Answer:
    """An honest answer about a finished job."""
    return job_answer("completed", output, signed_receipt(output))


def failed(reason: str) -> Answer:
    """Answer about a failed job, as sparse as other coordinators give it."""
    return job_answer("failed", msgspec.json.encode({"error": reason}))


def refused(status: int, error: str, **more: str) -> Answer:
    """An error answer."""
    return status, msgspec.json.encode({"error": error, **more})


def busy(status: int, retry_after: str | None = None, **headers: str) -> Headed:
    """The answer of a coordinator that cannot serve now."""
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Headed(refused(status, "busy", message="Later."), headers)


CANCELLED = job_answer("cancelled", b'{"error":"cancelled","message":"The job was cancelled."}')
PENDING = job_answer("pending")
ASSIGNED = job_answer("assigned")
RUNNING = job_answer("running")


@dataclass
class FakeCoordinator:
    """What the coordinator will say.

    ``about_job`` is worked through by questions about the job, and ``commit`` by submissions if it is a
    list; the last entry repeats. An exception in place of an answer is raised by the transport.
    ``long_poll`` holds unfinished answers for as long as they are asked to, on the fake clock. With
    ``keeps_keys`` a submission with a known key makes no second job. ``loses_first_answers`` takes every
    job, but breaks the connection the first time that a key is seen. ``seals`` says that sealed payloads are
    taken. With a ``till`` jobs cost money.
    """

    about_job: list[Reply] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    long_poll: bool = True
    chain: Chain = Chain.SOLANA
    keeps_keys: bool = True
    seals: bool = True
    loses_first_answers: bool = False
    commit: CommitReply | list[CommitReply] = None
    quote: Reply | list[Reply | None] | None = None
    cancel: Reply | list[Reply] = CANCELLED
    fallback: Reply | None = None
    overrides: dict[str, Reply] = field(default_factory=dict)
    till: FakeTill | None = None
    new_job_id: str = JOB_ID
    taken: list[Asked] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def committed(self) -> list[Asked]:
        """Submissions that were sent, each as often as it was. ``taken`` are the jobs made of them."""
        return [each for each in self.asked if each.path.startswith("/v1/jobs/commit/")]

    @property
    def looks(self) -> list[Asked]:
        """Questions about the job."""
        return [each for each in self.asked if each.method == "GET" and each.path == f"/v1/jobs/{JOB_ID}"]

    @property
    def cancels(self) -> list[Asked]:
        """Requests to cancel the job."""
        return [each for each in self.asked if each.method == "DELETE"]

    @property
    def fallback_asked(self) -> list[Asked]:
        """Requests that went to the hosted fallback."""
        return [each for each in self.asked if each.host == FALLBACK_HOST]

    def transport(self) -> httpx.MockTransport:
        """An httpx transport that leads here."""
        return httpx.MockTransport(self._handle)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a real port until left; gives the base URL."""
        started = threading.Event()
        where: list[str] = []
        stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def serve() -> None:
            ended = asyncio.Event()
            server = tornado.httpserver.HTTPServer(_application(self))
            sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
            server.add_sockets(sockets)
            where.append(f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
            stop.append((asyncio.get_running_loop(), ended))
            started.set()
            await ended.wait()
            server.stop()
            await server.close_all_connections()

        thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fake coordinator")
        thread.start()
        assert started.wait(10)
        try:
            yield where[0]
        finally:
            loop, ended = stop[0]
            loop.call_soon_threadsafe(ended.set)
            thread.join()

    def answer(self, asked: Asked) -> Headed:
        """What to say to a request. An exception in the script is raised."""
        self.asked.append(asked)
        reply = self._choose(asked)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Headed) else Headed(reply, {})

    def _choose(self, asked: Asked) -> Reply:
        if asked.host == FALLBACK_HOST:
            return self.fallback or (404, b"{}")
        if asked.path in self.overrides:
            return self.overrides[asked.path]
        if asked.path == "/v1/health":
            return self._health()
        if asked.path == "/v1/quote":
            quote = _next(self.quote) if isinstance(self.quote, list) else self.quote
            return quote or self._quote(asked)
        if asked.path.startswith("/v1/jobs/commit/"):
            return self._commit(asked)
        if asked.method == "DELETE":
            return _next(self.cancel) if isinstance(self.cancel, list) else self.cancel
        if asked.path == f"/v1/jobs/{JOB_ID}" and self.about_job:
            answer = _next(self.about_job)
            self._hold(asked, answer)
            return answer
        return refused(404, "not_found", message="There is no such thing.")

    def _commit(self, asked: Asked) -> Reply:
        scripted = _next(self.commit) if isinstance(self.commit, list) else self.commit
        if isinstance(scripted, LostAnswer):
            self._take(asked)
            return scripted.error
        if scripted is not None:
            return scripted
        if self.till is not None:
            # A repeated commit is answered as before, whether or not it is paid again.
            taken = {job.idempotency_key for job in self.taken}
            known = self.keeps_keys and asked.idempotency_key in taken
            unpaid = None if known else self.till.look_at(asked)
            if unpaid is not None:
                return unpaid
        sent_before = any(asked == each and asked.paid == each.paid for each in self.committed[:-1])
        answer = self._take(asked)
        return httpx.ReadError("reset") if self.loses_first_answers and not sent_before else answer

    def _take(self, asked: Asked) -> Reply:
        known = [job for job in self.taken if job.idempotency_key == asked.idempotency_key]
        if self.keeps_keys and known and known[0].body != asked.body:
            return refused(409, "idempotency_conflict", message="This key was used for another request.")
        if not (self.keeps_keys and known):
            self.taken.append(asked)
        echo = {"Idempotency-Key": asked.idempotency_key} if asked.idempotency_key else {}
        said: dict[str, object] = {"job_id": self.new_job_id}
        if self.till is not None and self.till.gives is not None:
            said["credit_token"] = self.till.gives
        answer = 201, msgspec.json.encode(said)
        return Headed(answer, self._support | echo) if self.keeps_keys else answer

    @property
    def _support(self) -> dict[str, str]:
        keys = {"Idempotency-Supported": "true"} if self.keeps_keys else {}
        return keys | ({"Sealed-Payloads": "v1"} if self.seals else {})

    def _hold(self, asked: Asked, answer: Reply) -> None:
        unfinished = isinstance(answer, tuple) and b'"completed_at":null' in answer[1]
        wait = parse_qs(asked.query).get("wait")
        if self.long_poll and unfinished and wait:
            self.clock.now += float(wait[0])

    def _health(self) -> Answer:
        health = {"status": "ok", "workers_online": 1, "network": NETWORKS[self.chain].caip2}
        return 200, msgspec.json.encode(health | {"timestamp": CREATED_AT})

    def _quote(self, asked: Asked) -> Reply:
        query = parse_qs(asked.query)
        job_type = JobType(query["job_type"][0])
        tier = resolve_tier(Policy(query["policy"][0]), job_type)
        body = msgspec.json.encode(
            {
                "price": format_usd(price(tier, job_type)),
                "endpoint": f"/v1/jobs/commit/{tier.value.lower()}",
                "policy_resolved": tier,
                "network": NETWORKS[self.chain].caip2,
                "expires_at": None,
            }
        )
        if self.till is not None:
            body = self.till.signed_quote(body)
        return Headed((200, body), self._support)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        reply = self.answer(
            Asked(
                request.method,
                request.url.host,
                request.url.path,
                request.url.query.decode(),
                request.content,
                request.headers.get("Authorization"),
                request.headers.get("Idempotency-Key"),
                dict(request.headers),
            )
        )
        status, body = reply.answer
        return httpx.Response(status, content=body, headers=reply.headers)


def _next(script: list[T]) -> T:
    """The next entry of a script; the last one repeats."""
    return script.pop(0) if len(script) > 1 else script[0]


def _application(coordinator: FakeCoordinator) -> tornado.web.Application:
    class Everything(tornado.web.RequestHandler):
        def _serve(self) -> None:
            request = self.request
            try:
                reply = coordinator.answer(
                    Asked(
                        request.method or "",
                        request.host_name,
                        request.path,
                        request.query,
                        request.body,
                        request.headers.get("Authorization"),
                        request.headers.get("Idempotency-Key"),
                        {name.lower(): value for name, value in request.headers.get_all()},
                    )
                )
            except ConnectionError:
                request.connection.stream.close()  # type: ignore[union-attr]
                return
            status, body = reply.answer
            self.set_status(status)
            self.set_header("Content-Type", "application/json")
            for name, value in reply.headers.items():
                self.set_header(name, value)
            self.write(body)

        get = post = delete = _serve

    return tornado.web.Application([(".*", Everything)], log_function=lambda _handler: None)
