"""The actor that holds the workers' sockets: what goes out on them, and who is told what."""

from __future__ import annotations

import msgspec
import pytest

from compute_router.actors.messages.job_store import KeepReceipt
from compute_router.actors.messages.matcher import (
    LeasesRenewed,
    Sweep,
    WorkerDraining,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.messages.timers import ArmTimer
from compute_router.actors.messages.worker_registry import (
    CloseAllSockets,
    CountWorkers,
    Deliver,
    FrameArrived,
    HeartbeatDue,
    SettleDue,
    SocketClosed,
    SocketOpened,
)
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.registry_core import RegistryCore
from compute_router.actors.worker_registry import AttachMatcher, WorkerRegistry
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAMES,
    CoordinatorFrame,
    Drain,
    ErrorFrame,
    Heartbeat,
    HeartbeatAck,
    HeldJob,
    JobAck,
    ReceiptSubmit,
    Register,
    RegisterAck,
    encode_frame,
)
from tests.actors.samples import completion, key
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox

REGISTER = Register(key("a"), ProviderType.DESKTOP, ["TASK"])


class SteppedRegistry(Stepped, WorkerRegistry):
    pass


class Socket:
    """A worker's connection that keeps what was sent."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.sent: list[CoordinatorFrame] = []
        self.closed: int | None = None

    def send(self, frame_json: bytes) -> None:
        assert self.closed is None, "sent on a closed socket"
        self.sent.append(COORDINATOR_FRAMES.decode(frame_json))

    def close(self, code: int, reason: str) -> None:
        assert reason
        self.closed = code


class Desk:
    def __init__(self) -> None:
        self.scheduler, self.matcher = RecordingRef(), RecordingRef()
        self.clock = FakeClock()
        core = RegistryCore("test:1", MatchingPolicy())
        self.ref = SteppedRegistry.start(pytest.fail, core, self.clock, self.scheduler)
        self.tell(AttachMatcher(self.matcher))
        self.socket = Socket(1)

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.ref.tell(message)
            mailbox(self.ref).step()

    def ask(self, message: object) -> object:
        answer = self.ref.ask(message, block=False)
        mailbox(self.ref).step()
        return answer.get()

    def registered(self) -> Desk:
        self.tell(SocketOpened(self.socket), FrameArrived(1, REGISTER))
        assert isinstance(self.socket.sent[-1], RegisterAck)
        self.socket.sent.clear()
        self.scheduler.take()
        self.matcher.take()
        return self


def test_a_socket_is_greeted_registered_and_counted() -> None:
    desk = Desk()
    desk.tell(SocketOpened(desk.socket), FrameArrived(1, REGISTER))
    assert [type(frame).__name__ for frame in desk.socket.sent] == ["Challenge", "RegisterAck"]
    assert [type(message) for message in desk.matcher.take()] == [WorkerOnline]
    timers = desk.scheduler.take()
    assert all(isinstance(message, ArmTimer) for message in timers)
    assert [message.timer.key for message in timers] == ["heartbeat:1", "settle:1"]
    assert desk.ask(CountWorkers()) == 1


def test_heartbeats_are_answered_on_the_socket() -> None:
    desk = Desk().registered()
    desk.tell(FrameArrived(1, Heartbeat(key("a"))))
    assert desk.socket.sent == [HeartbeatAck("ok")]
    assert desk.matcher.take() == []


def test_a_heartbeat_that_names_jobs_renews_their_leases() -> None:
    desk = Desk().registered()
    held = HeldJob("job", 2)
    desk.tell(FrameArrived(1, Heartbeat(key("a"), jobs=[held])))
    assert desk.matcher.take() == [LeasesRenewed(1, (held,))]
    assert desk.socket.sent == [HeartbeatAck("ok")]


def test_a_heartbeat_of_another_key_renews_nothing() -> None:
    desk = Desk().registered()
    desk.tell(FrameArrived(1, Heartbeat(key("b"), jobs=[HeldJob("job", 2)])))
    assert desk.matcher.take() == []
    assert [type(frame) for frame in desk.socket.sent] == [ErrorFrame]


def test_a_worker_that_drains_is_reported() -> None:
    desk = Desk().registered()
    desk.tell(FrameArrived(1, Drain()))
    assert desk.matcher.take() == [WorkerDraining(1)]


def test_what_a_worker_says_about_a_job_goes_to_the_matcher() -> None:
    desk = Desk().registered()
    frame = completion("job")
    desk.tell(FrameArrived(1, frame))
    assert desk.matcher.take() == [WorkerSaid(1, key("a"), False, frame)]


def test_a_receipt_follows_its_result_to_the_matcher_and_the_answer_comes_back_to_the_socket() -> None:
    desk = Desk().registered()
    result = completion("job")
    desk.tell(FrameArrived(1, result), FrameArrived(1, ReceiptSubmit(msgspec.Raw(b"{}"), "c2ln")))
    assert desk.matcher.take() == [
        WorkerSaid(1, key("a"), False, result),
        KeepReceipt(1, key("a"), b"{}", "c2ln"),
    ]
    desk.tell(Deliver(1, ErrorFrame("RECEIPT_MALFORMED", "no")))
    assert desk.socket.sent == [ErrorFrame("RECEIPT_MALFORMED", "no")]


def test_frames_go_out_as_the_protocol_encodes_them() -> None:
    sent: list[bytes] = []

    class Wire(Socket):
        def send(self, frame_json: bytes) -> None:
            sent.append(frame_json)

    desk = Desk()
    desk.tell(SocketOpened(Wire(2)))
    sent.clear()
    frame = JobAck("job", "stale")
    desk.tell(Deliver(2, frame))
    assert sent == [encode_frame(frame)]


def test_a_frame_for_a_socket_that_is_gone_is_dropped() -> None:
    desk = Desk().registered()
    desk.tell(SocketClosed(1), Deliver(1, JobAck("job", "stale")))
    assert desk.socket.sent == []
    assert desk.matcher.take() == [WorkerOffline(1)]
    assert desk.ask(CountWorkers()) == 0


def test_a_silent_worker_is_closed_and_the_matcher_told_once() -> None:
    desk = Desk().registered()
    desk.clock.advance(MatchingPolicy().heartbeat_timeout)
    desk.tell(HeartbeatDue(1), SocketClosed(1))
    assert desk.socket.closed == 1008
    assert desk.matcher.take() == [WorkerOffline(1)]


def test_a_worker_settles_when_its_time_has_come() -> None:
    desk = Desk().registered()
    desk.tell(SettleDue(1))
    assert desk.matcher.take() == [WorkerSettled(1)]


def test_at_the_end_all_sockets_are_closed_as_going_away_and_no_job_is_taken_back() -> None:
    desk = Desk().registered()
    desk.tell(CloseAllSockets(), SocketClosed(1))
    assert desk.socket.closed == 1001
    assert desk.matcher.take() == []


def test_a_socket_that_closes_after_the_matcher_stopped_ends_nothing() -> None:
    desk = Desk().registered()
    desk.matcher.die()
    desk.tell(SocketClosed(1))
    assert desk.ask(CountWorkers()) == 0


def test_an_unknown_message_is_a_mistake() -> None:
    desk = Desk()
    with pytest.raises(TypeError, match="Sweep"):
        desk.ask(Sweep())
