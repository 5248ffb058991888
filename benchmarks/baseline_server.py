"""Bare Tornado: what the same traffic costs when nothing is done with it.

``/hello`` is the usual hello-world. The other routes answer one job's exchange, two requests and two
frames, with fixed bytes of the size that the coordinator really sends; nothing is read, kept or checked.
"""

from __future__ import annotations

import asyncio
import signal
from itertools import cycle
from typing import Final

import msgspec
from nacl.signing import SigningKey
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from compute_router.protocol.http_api import CommitAnswer, JobAnswer
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, PrivacyClass, Tier
from compute_router.protocol.messages import Challenge, JobAssign, RegisterAck, encode_frame
from compute_router.protocol.receipts import WorkDone, attach_proof, sha256_hex, sign_receipt
from compute_router.protocol.units import UnixMs

_JOB_ID: Final = "00000000-0000-4000-8000-000000000000"
_AT: Final = "2026-02-09T12:00:05.000Z"
_OUTPUT: Final = b'{"sentiment":"positive","confidence":0.87}'
_PAYLOAD: Final = (
    b'{"task_type":"classify","input":"The delivery came two days early and everything in the box was in '
    b'perfect condition."}'
)
_SIGNED: Final = sign_receipt(
    SigningKey(bytes(32)),
    _JOB_ID,
    _OUTPUT,
    UnixMs(1_770_000_000_000),
    WorkDone(sha256_hex(_PAYLOAD), model=None, model_digest=None, attempt=1),
)

_COMMITTED: Final = msgspec.json.encode(CommitAnswer(_JOB_ID))
_RESULT: Final = msgspec.json.encode(
    JobAnswer(
        id=_JOB_ID,
        status=JobStatus.COMPLETED,
        result=msgspec.Raw(_OUTPUT),
        receipt=msgspec.Raw(attach_proof(_SIGNED.receipt_json, _SIGNED.signature, verified=True)),
        created_at=_AT,
        completed_at=_AT,
    )
)
_CHALLENGE: Final = encode_frame(Challenge(nonce="bm9uY2U=", network="solana:devnet"))
_REGISTER_ACK: Final = encode_frame(RegisterAck(status="ok", worker_id=_JOB_ID))
_ASSIGN: Final = encode_frame(
    JobAssign(
        job_id=_JOB_ID,
        job_type=JobType.TASK,
        payload=msgspec.Raw(_PAYLOAD),
        policy=Tier.CHEAP,
        privacy_class=PrivacyClass.PUBLIC,
        user_id="seeker-00",
        attempt=1,
        deadline_ms=30_000,
    )
)


class Sockets:
    """The worker sockets, each taking its turn."""

    def __init__(self) -> None:
        self._sockets: list[WorkerSocket] = []
        self._turns = cycle(self._sockets)

    def add(self, socket: WorkerSocket) -> None:
        """Take in one more."""
        self._sockets.append(socket)
        self._turns = cycle(self._sockets)

    def next(self) -> WorkerSocket:
        """The socket whose turn it is."""
        return next(self._turns)


class HelloHandler(RequestHandler):
    """Hello-world."""

    def get(self) -> None:
        """Greet."""
        self.write("Hello, world")


class CommitHandler(RequestHandler):
    """First request of a job, and the frame to a worker."""

    def initialize(self, sockets: Sockets) -> None:
        """Take what the route carries."""
        self._sockets = sockets

    def post(self) -> None:
        """Send one frame and answer."""
        self._sockets.next().write_message(_ASSIGN)
        self.set_status(201)
        self.set_header("Content-Type", "application/json")
        self.set_header("Idempotency-Supported", "true")
        self.finish(_COMMITTED)


class ResultHandler(RequestHandler):
    """Second request of a job."""

    def get(self, job_id: str) -> None:
        """Answer at once."""
        self.set_header("Content-Type", "application/json")
        self.finish(_RESULT)


class WorkerSocket(WebSocketHandler):
    """The frame from a worker."""

    def initialize(self, sockets: Sockets) -> None:
        """Take what the route carries."""
        self._sockets = sockets
        self._registered = False

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin as the coordinator does, so that the same workers can be used."""
        self.write_message(_CHALLENGE)

    def on_message(self, message: str | bytes) -> None:
        """Acknowledge the first frame; drop the others."""
        if not self._registered:
            self._registered = True
            self._sockets.add(self)
            self.write_message(_REGISTER_ACK)


async def main() -> None:
    """Serve on a free loopback port until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    shared = {"sockets": Sockets()}
    application = Application(
        [
            (r"/hello", HelloHandler),
            (r"/v1/jobs/commit/cheap", CommitHandler, shared),
            (r"/v1/jobs/([^/]+)", ResultHandler),
            (r"/", WorkerSocket, shared),
        ]
    )
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(application).add_sockets(sockets)
    print(f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
