"""The server: all resources and the worker socket on one listening port, and its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application

from compute_router.actors.system import System
from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.http_api import LimitsShown
from compute_router.transport.authentication import Authentication
from compute_router.transport.commit import CommitResource
from compute_router.transport.cors import Cors
from compute_router.transport.credit_tokens import CreditTokens
from compute_router.transport.earnings import EarningsResource
from compute_router.transport.endpoint_limits import EndpointLimits
from compute_router.transport.health import HealthResource
from compute_router.transport.http_exchange import MAX_DRAINED_BYTES, HttpApi
from compute_router.transport.job import JobResource
from compute_router.transport.job_events import JobEventsResource
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.keys import KeysResource
from compute_router.transport.limits import AddressGuard, AddressLimits
from compute_router.transport.listening import ListeningSocket
from compute_router.transport.patient_loop import watch_patiently
from compute_router.transport.payments_shown import PaymentsResource
from compute_router.transport.payouts import PayoutsResource
from compute_router.transport.quote import QuoteResource
from compute_router.transport.receipts import CoordinatorResource, ReceiptResource
from compute_router.transport.router import Router
from compute_router.transport.shown_limits import shown_limits
from compute_router.transport.socket_origins import SocketOrigins
from compute_router.transport.trust import TrustResource
from compute_router.transport.worker_address import WorkerAddress
from compute_router.transport.worker_record import WorkerRecordResource
from compute_router.transport.worker_socket import WorkerSocket
from compute_router.transport.workers import WorkersResource

if TYPE_CHECKING:
    from compute_router.transport.payments.checkout import Checkout

_FRAME_HEADROOM: Final = 64 * 1024
_HEADER_BYTES: Final = 16 * 1024
_IDLE_TIMEOUT_SECONDS: Final = 300.0
_IDLE_CHECK_SECONDS: Final = 10.0
_LISTEN_BACKLOG: Final = 4096
_LAST_ANSWERS_SECONDS: Final = 2.0
_LAST_FRAMES_SECONDS: Final = 2.0


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and what to accept. ``port`` 0 takes any free one."""

    host: str
    port: int
    max_body_bytes: int = 1024 * 1024
    cors_origins: tuple[str, ...] = ()
    ws_origins: tuple[str, ...] = ()
    limits: AddressLimits = AddressLimits()


class _ListeningServer(HTTPServer):
    """Tells the :class:`HttpApi` of the end of each connection; Tornado's own server keeps it to itself."""

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        # Tornado turns Nagle's algorithm off and on for each answer. Here every answer and every frame is a
        # single write, so it can stay off.
        stream.set_nodelay(True)
        stream.set_nodelay = _leave_alone  # type: ignore[method-assign]
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        assert isinstance(self.request_callback, HttpApi)
        self.request_callback.on_close(server_conn)


def _leave_alone(value: bool) -> None:
    """For settings that stay as they are."""


class Server:
    """A listening coordinator."""

    def __init__(
        self,
        system: System,
        watch: JobWatch,
        settings: HttpSettings,
        authentication: Authentication,
        countersigner: Countersigner,
        checkout: Checkout | None = None,
    ) -> None:
        watch_patiently()
        guard = AddressGuard(settings.limits, system.clock.steady_ms)
        max_frame_bytes = settings.max_body_bytes + _FRAME_HEADROOM
        worker_settings = {
            "registry": system.registry,
            "guard": guard,
            "max_frame_bytes": max_frame_bytes,
            "origins": SocketOrigins(settings.ws_origins),
        }
        sockets = Application(
            [(r"/", WorkerSocket, worker_settings)],
            websocket_max_message_size=max_frame_bytes,
            log_function=lambda handler: None,
        )
        shown = shown_limits(system.policy, settings.limits, settings.max_body_bytes)
        router = routes(system, watch, authentication, shown, countersigner, checkout)
        EndpointLimits(settings.limits, system.clock.steady_ms).guard_all(router)
        self._system = system
        self._watch = watch
        self._settings = settings
        cors = Cors(settings.cors_origins, paid=checkout is not None)
        self._api = HttpApi(router, sockets, cors, guard, settings.max_body_bytes)
        self._server = _ListeningServer(
            self._api,
            max_header_size=_HEADER_BYTES,
            max_body_size=MAX_DRAINED_BYTES,
        )
        self._server.conn_params.header_timeout = None
        self._idle_check: asyncio.TimerHandle | None = None

    def listen(self) -> int:
        """Begin to take connections; returns the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        host, port = self._settings.host, self._settings.port
        try:
            sockets = bind_sockets(port, host, backlog=_LISTEN_BACKLOG)
        except (OSError, UnicodeError) as error:
            # Python cannot even ask for the address of a name with a label of more than 63 letters.
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(
                f"Cannot listen on {host}:{port}: {reason}. "
                "Stop what uses it, or choose another address with --host and --port."
            ) from None
        port = int(sockets[0].getsockname()[1])
        self._server.add_sockets([ListeningSocket.instead_of(each) for each in sockets])
        self._check_idle()
        return port

    def _check_idle(self) -> None:
        self._api.close_idle(_IDLE_TIMEOUT_SECONDS)
        loop = asyncio.get_running_loop()
        self._idle_check = loop.call_later(_IDLE_CHECK_SECONDS, self._check_idle)

    async def stop(self) -> None:
        """Take no more connections, answer what waits, and say goodbye to the workers."""
        self._server.stop()
        self._api.stopping = True
        if self._idle_check is not None:
            self._idle_check.cancel()
        self._watch.release_all()
        if self._api.in_flight:
            await asyncio.wait(self._api.in_flight, timeout=_LAST_ANSWERS_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FRAMES_SECONDS):
                await self._system.close_workers()
        await self._server.close_all_connections()


def routes(
    system: System,
    watch: JobWatch,
    authentication: Authentication,
    limits: LimitsShown,
    countersigner: Countersigner,
    checkout: Checkout | None = None,
) -> Router:
    """Every address of the HTTP API."""
    router = Router()
    trust = TrustResource(system, authentication)
    quotes = None if checkout is None else checkout.quotes
    router.add("GET", "/", WorkerAddress().get)
    router.add("GET", "/v1/health", HealthResource(system, limits, checkout).get)
    router.add("GET", "/v1/quote", QuoteResource(system.network, quotes).get)
    router.add("POST", "/v1/jobs/commit/*", CommitResource(system, authentication, checkout).post)
    tokens = CreditTokens() if checkout is None else checkout.tokens
    job = JobResource(system, watch, authentication, tokens)
    router.add("GET", "/v1/jobs/*", job.get)
    router.add("DELETE", "/v1/jobs/*", job.delete)
    router.add("GET", "/v1/jobs/*/events", JobEventsResource(system, watch, authentication, tokens).get)
    router.add("GET", "/v1/receipts/*", ReceiptResource(system, authentication, countersigner).get)
    router.add("GET", "/.well-known/compute-router", CoordinatorResource(countersigner).get)
    if checkout is not None:
        router.add("GET", "/.well-known/x402", checkout.discovery)
    keys = KeysResource(system, authentication)
    router.add("POST", "/v1/keys", keys.post)
    router.add("GET", "/v1/keys", keys.get)
    router.add("DELETE", "/v1/keys/*", keys.delete)
    router.add("GET", "/v1/workers", WorkersResource(system).get)
    router.add("GET", "/v1/workers/*", WorkerRecordResource(system).get)
    router.add("GET", "/v1/workers/*/earnings", EarningsResource(system).get)
    router.add("GET", "/v1/payments", PaymentsResource(system, authentication, checkout).get)
    payouts = PayoutsResource(system, authentication)
    router.add("GET", "/v1/payouts", payouts.get)
    router.add("POST", "/v1/payouts", payouts.post)
    router.add("POST", "/v1/payouts/*", payouts.step)
    router.add("POST", "/v1/trust/create", trust.create)
    router.add("POST", "/v1/trust/claim", trust.claim)
    router.add("GET", "/v1/trust/list", trust.list)
    router.add("DELETE", "/v1/trust/*", trust.revoke)
    return router
