"""Barred keys at the registry: their connections end, and no new one is let in."""

from __future__ import annotations

from collections.abc import Iterable

from compute_router.actors.audits import CONVICTED
from compute_router.actors.clock import SteadyMs
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import CloseSocket
from compute_router.actors.messages.matcher import WorkerOffline
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.registry_core import BARRED, RegistryCore
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import CLOSE_BARRED, Register, RegisterAck
from tests.actors.samples import key

A, B = key("a"), key("b")
NOW = SteadyMs(0)


def come(core: RegistryCore, worker_id: int, pubkey: str) -> list[Message]:
    """Open a socket and register on it without proof."""
    core.opened(worker_id, NOW)
    return core.frame(worker_id, Register(pubkey, ProviderType.DESKTOP, ["TASK"]), NOW)


def acks(messages: Iterable[Message]) -> list[RegisterAck]:
    frames = (message.frame for message in messages if isinstance(message, Deliver))
    return [frame for frame in frames if isinstance(frame, RegisterAck)]


def test_all_connections_of_a_barred_key_are_closed_with_the_reason_and_no_others() -> None:
    core = RegistryCore("test", MatchingPolicy())
    for worker_id, pubkey in enumerate((A, A, B), 1):
        come(core, worker_id, pubkey)
    told = core.bar(A, "it lied")
    assert [message for message in told if isinstance(message, WorkerOffline)] == [
        WorkerOffline(1),
        WorkerOffline(2),
    ]
    closed = [message for message in told if isinstance(message, CloseSocket)]
    assert closed == [CloseSocket(number, CLOSE_BARRED, "barred: it lied") for number in (1, 2)]
    assert core.online == 1


def test_a_barred_key_cannot_register_with_or_without_proof() -> None:
    core = RegistryCore("test", MatchingPolicy())
    core.bar(A, "it lied")
    assert acks(come(core, 1, A)) == [RegisterAck("error", error=BARRED)]
    forged = Register(A, ProviderType.DESKTOP, ["TASK"], nonce="n", signature="s")
    assert acks(core.frame(1, forged, NOW)) == [RegisterAck("error", error=BARRED)]
    assert core.online == 0
    assert [ack.status for ack in acks(come(core, 2, B))] == ["ok"]


def test_a_registered_socket_cannot_turn_into_a_barred_key() -> None:
    core = RegistryCore("test", MatchingPolicy())
    core.keep_out([A])
    come(core, 1, B)
    told = core.frame(1, Register(A, ProviderType.DESKTOP, ["TASK"]), NOW)
    assert acks(told) == [RegisterAck("error", error=BARRED)]
    assert core.online == 1


def test_a_reason_fits_into_a_close_frame() -> None:
    core = RegistryCore("test", MatchingPolicy())
    come(core, 1, A)
    (close,) = [message for message in core.bar(A, CONVICTED) if isinstance(message, CloseSocket)]
    assert len(close.reason.encode()) <= 123
