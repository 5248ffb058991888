"""The actor that holds every worker's socket."""

from __future__ import annotations

from typing import Any

import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import CloseSocket
from compute_router.actors.messages.stored_earnings import PayoutAddressNamed, PutPayoutAddress, TellWorker
from compute_router.actors.messages.timers import ArmTimer, SetTimer
from compute_router.actors.messages.worker_registry import (
    BarKey,
    BarredKeys,
    CloseAllSockets,
    CountWorkers,
    Deliver,
    FrameArrived,
    HeartbeatDue,
    SettleDue,
    SocketClosed,
    SocketOpened,
)
from compute_router.actors.ports import WorkerConnection
from compute_router.actors.registry_core import RegistryCore
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.protocol.messages import encode_frame
from compute_router.protocol.payments import PayoutAddress


class WorkerRegistry(LoopActor):
    """Turns socket events into registrations, and frames from other actors into bytes on sockets."""

    def __init__(
        self,
        on_death: OnDeath,
        core: RegistryCore,
        clock: Clock,
        scheduler: pykka.ActorRef[Any],
    ) -> None:
        super().__init__(on_death)
        self._core = core
        self._clock = clock
        self._scheduler = scheduler
        self._matcher: pykka.ActorRef[Any] | None = None
        self._connections: dict[int, WorkerConnection] = {}

    def on_receive(self, message: Any) -> Any:
        match message:
            case FrameArrived(worker_id, frame):
                self._carry_out(self._core.frame(worker_id, frame, self._clock.steady_ms()))
            case Deliver():
                self._deliver(message)
            case SocketOpened(connection):
                self._connections[connection.worker_id] = connection
                self._carry_out(self._core.opened(connection.worker_id, self._clock.steady_ms()))
            case SocketClosed(worker_id):
                self._carry_out(self._core.closed(worker_id))
                self._connections.pop(worker_id, None)
            case HeartbeatDue(worker_id):
                self._carry_out(self._core.heartbeat_due(worker_id, self._clock.steady_ms()))
            case SettleDue(worker_id):
                self._carry_out(self._core.settle_due(worker_id))
            case BarKey(pubkey, reason):
                self._carry_out(self._core.bar(pubkey, reason))
            case TellWorker(pubkey, frame):
                self._carry_out(self._core.tell(pubkey, frame))
            case BarredKeys(pubkeys):
                self._core.keep_out(pubkeys)
            case CountWorkers():
                return self._core.online
            case CloseAllSockets():
                self._carry_out(self._core.close_all())
            case AttachMatcher(matcher):
                self._matcher = matcher
            case _:
                raise TypeError(f"WorkerRegistry cannot handle {message!r}")
        return None

    def _carry_out(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Deliver():
                    self._deliver(message)
                case SetTimer():
                    self._scheduler.tell(ArmTimer(message, self.actor_ref))
                case CloseSocket(worker_id, code, reason):
                    connection = self._connections.pop(worker_id, None)
                    if connection is not None:
                        connection.close(code, reason)
                case PayoutAddressNamed(pubkey, address):
                    # What was signed for this connection is newer than anything that is kept.
                    named = PayoutAddress(pubkey, address, self._clock.unix_ms())
                    self._tell_matcher(PutPayoutAddress(named))
                case _:
                    # A receipt goes this way too, or it would overtake the result that it is about.
                    self._tell_matcher(message)

    def _tell_matcher(self, message: Message) -> None:
        assert self._matcher is not None
        # While the system stops, sockets still close after the Matcher is gone.
        if self._matcher.is_alive():
            self._matcher.tell(message)

    def _deliver(self, message: Deliver) -> None:
        connection = self._connections.get(message.worker_id)
        if connection is not None:
            connection.send(encode_frame(message.frame))


class AttachMatcher(Message, frozen=True):
    """Introduces the Matcher, which is started after the registry."""

    matcher: pykka.ActorRef[Any]
