"""The facilitator's HTTP side: x402's ``/verify``, ``/settle`` and ``/supported``, and ``/health``.

Whatever blocks, which is all of the x402 library, runs in threads. Settlements have threads and a queue of
their own: waiting for blocks keeps no verification waiting, and no verification keeps a settlement out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import msgspec
from tornado import web
from tornado.http1connection import HTTP1Connection

from compute_router.protocol.errors import (
    ComputeRouterError,
    PayloadTooLargeError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from compute_router.protocol.log_format import place
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.transport.facilitator.admission import Admission
from compute_router.transport.facilitator.bodies import PaymentError, Question, read_question
from compute_router.transport.facilitator.bounded_server import MOST_CONNECTIONS, BoundedServer
from compute_router.transport.facilitator.lane import Lane
from compute_router.transport.facilitator.library_side import LibrarySide
from compute_router.transport.facilitator.settling import Checked, Ended, Settling

logger = logging.getLogger(__name__)

_MOST_BODY_BYTES: Final = 64 * 1024
_MOST_READ_BYTES: Final = 128 * 1024
"""What is longer than this is cut off unanswered; what is between is told that it is too long."""
_VERIFY_THREADS: Final = 8
_VERIFY_THREADS_OF_A_PAYER: Final = 3
_SETTLE_THREADS: Final = 16
_SETTLE_THREADS_OF_A_PAYER: Final = 12
_HEALTH_LASTS_SECONDS: Final = 3.0


class FacilitatorServer:
    """Answers for one chain until it is stopped."""

    def __init__(
        self,
        chain: Chain,
        side: LibrarySide,
        settling: Settling,
        admission: Admission,
        *,
        connections: int = MOST_CONNECTIONS,
    ) -> None:
        self.chain = chain
        self.side = side
        self.admission = admission
        self._settling = settling
        self._verifications = Lane("verify", _VERIFY_THREADS, each=_VERIFY_THREADS_OF_A_PAYER)
        self._settlements = Lane("settle", _SETTLE_THREADS, each=_SETTLE_THREADS_OF_A_PAYER)
        self._problem: tuple[float, str | None] | None = None
        self._asking = asyncio.Lock()
        routes = [(path, kind, {"server": self}) for path, kind in _ROUTES]
        application = web.Application(
            routes,
            log_function=_log_nothing,
            default_handler_class=_Nowhere,
            default_handler_args={"server": self},
        )
        self.http = BoundedServer(application, largest_body=_MOST_READ_BYTES, connections=connections)

    def listen(self, host: str, port: int) -> int:
        """See :meth:`BoundedServer.listen_on`."""
        return self.http.listen_on(host, port)

    async def stop(self) -> None:
        """Take no more questions, let those under way end, and close."""
        self.http.stop()
        await self._verifications.end()
        await self._settlements.end()
        await self.http.close_all_connections()

    async def verify(self, question: Question) -> Checked:
        """See :meth:`Settling.verify`."""
        return await self._verifications.run(self._settling.verify, question)

    async def settle(self, question: Question) -> Ended:
        """See :meth:`Settling.settle`."""
        return await self._settlements.run(self._settling.settle, question)

    async def supported(self) -> dict[str, Any]:
        """The answer to ``GET /supported``."""
        return await asyncio.to_thread(self.side.supported)

    async def problem(self) -> str | None:
        """What keeps it from settling, a few seconds old at most."""
        async with self._asking:
            now = time.monotonic()
            if self._problem is None or now - self._problem[0] > _HEALTH_LASTS_SECONDS:
                before = None if self._problem is None else self._problem[1]
                problem = await asyncio.to_thread(self.side.problem)
                if problem != before:
                    logger.warning("%s", problem or "Payments can be settled again.")
                self._problem = (now, problem)
            return self._problem[1]


class _Handler(web.RequestHandler):
    def initialize(self, server: FacilitatorServer) -> None:
        self.server = server

    def prepare(self) -> None:
        assert isinstance(self.request.connection, HTTP1Connection)
        self.server.http.begun(self.request.connection.stream)

    def on_finish(self) -> None:
        assert isinstance(self.request.connection, HTTP1Connection)
        self.server.http.answered(self.request.connection.stream)

    def answer(self, body: object, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(body))

    def answer_error(self, status: int, code: str, message: str) -> None:
        if status == 503:
            self.set_header("Retry-After", "2")
        if status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.answer({"error": code, "message": message}, status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ComputeRouterError):
            self.answer_error(error.http_status, error.code, str(error))
        elif status_code < 500:
            self.answer_error(status_code, "invalid_request", f"{self._reason}.")
        else:
            self.answer_error(500, "internal_error", "The facilitator failed.")

    def log_exception(self, typ: object, value: BaseException | None, tb: object) -> None:
        if isinstance(value, UnavailableError):
            logger.warning("%s %s: %s", self.request.method, self.request.path, value)
        elif value is not None and not isinstance(value, web.HTTPError | ComputeRouterError):
            logger.error("%s %s failed:\n%s", self.request.method, self.request.path, place(value))

    def check_asker(self) -> None:
        self.server.admission.check_asker(self.request.headers.get("Authorization", ""))

    def question(self) -> Question:
        self.check_asker()
        # A page in a browser can send a plain form to this port, but no JSON without being allowed to.
        if (
            self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            != "application/json"
        ):
            raise UnsupportedMediaTypeError("The body must be application/json.")
        if len(self.request.body) > _MOST_BODY_BYTES:
            raise PayloadTooLargeError(f"The body may have {_MOST_BODY_BYTES} bytes.")
        question = read_question(self.request.body, self.server.chain)
        self.server.admission.check_payment(question)
        return question


class _Verify(_Handler):
    async def post(self) -> None:
        try:
            question = self.question()
        except PaymentError as error:
            self.answer(Checked(False, invalid_reason=error.reason))
            return
        self.answer(await self.server.verify(question))


class _Settle(_Handler):
    async def post(self) -> None:
        try:
            question = self.question()
        except PaymentError as error:
            self.answer(Ended(False, "", NETWORKS[self.server.chain].caip2, error_reason=error.reason))
            return
        self.answer(await self.server.settle(question))


class _Supported(_Handler):
    async def get(self) -> None:
        self.check_asker()
        # Whoever asks this is about to offer payments, which could not be settled.
        problem = await self.server.problem()
        if problem is not None:
            self.answer_error(503, "unavailable", problem)
            return
        self.answer(await self.server.supported())


class _Health(_Handler):
    async def get(self) -> None:
        problem = await self.server.problem()
        network = NETWORKS[self.server.chain].caip2
        facts = {"network": network, "address": self.server.side.address, "problem": problem}
        if problem is None:
            self.answer({"status": "ok", **facts})
        else:
            self.answer({"status": "unavailable", **facts}, 503)


class _Nowhere(_Handler):
    def prepare(self) -> None:
        raise web.HTTPError(404)


_ROUTES: Final = [
    (r"/verify", _Verify),
    (r"/settle", _Settle),
    (r"/supported", _Supported),
    (r"/health", _Health),
]


def _log_nothing(handler: web.RequestHandler) -> None:
    """Settlements write their own lines."""
