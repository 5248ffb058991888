"""Who is connected: challenge, registration, proof, heartbeats, replacement, and the end."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.clock import SteadyMs
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import CloseSocket
from compute_router.actors.messages.job_store import KeepReceipt
from compute_router.actors.messages.matcher import WorkerOffline, WorkerOnline, WorkerSaid, WorkerSettled
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.messages.worker_registry import Deliver, HeartbeatDue, SettleDue
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.registry_core import RegistryCore
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import (
    Challenge,
    ErrorFrame,
    Frame,
    Heartbeat,
    HeartbeatAck,
    HeldJob,
    Model,
    ReceiptSubmit,
    Register,
    RegisterAck,
    WorkerFrame,
    registration_message,
)
from compute_router.protocol.receipts import public_key_hex, sign_base64
from compute_router.protocol.units import DurationMs
from tests.actors.samples import completion, key

NETWORK = "test:1"
SIGNER = SigningKey(b"s" * 32)
PUBKEY = public_key_hex(SIGNER)
OTHER = key("b")
SILENCE = MatchingPolicy().heartbeat_timeout
TIME_TO_REGISTER = MatchingPolicy().register_timeout
PRETENDER = "not the holder of this key"


class Door:
    """A registry core with a clock and predictable nonces: socket N gets ``nonce-N``."""

    def __init__(self, **policy: Any) -> None:
        serial = itertools.count(1)
        self.core = RegistryCore(NETWORK, MatchingPolicy(**policy), new_nonce=lambda: f"nonce-{next(serial)}")
        self.now = 0

    def open(self, worker_id: int) -> list[Message]:
        return self.core.opened(worker_id, SteadyMs(self.now))

    def frame(self, worker_id: int, frame: WorkerFrame) -> list[Message]:
        return self.core.frame(worker_id, frame, SteadyMs(self.now))

    def look(self, worker_id: int) -> list[Message]:
        return self.core.heartbeat_due(worker_id, SteadyMs(self.now))

    def register(self, worker_id: int, **changes: Any) -> list[Message]:
        return self.frame(worker_id, registration(**changes))

    def registered(self, worker_id: int, **changes: Any) -> Door:
        self.open(worker_id)
        assert acks(self.register(worker_id, **changes)) == ["ok"]
        return self


def registration(pubkey: str = PUBKEY, **changes: Any) -> Register:
    frame = Register(pubkey, ProviderType.DESKTOP, ["TASK"])
    return msgspec.structs.replace(frame, **changes)


def proof(nonce: str, *, network: str = NETWORK, pubkey: str = PUBKEY) -> dict[str, str]:
    signature = sign_base64(SIGNER, registration_message(network, nonce, pubkey))
    return {"nonce": nonce, "signature": signature}


def frames(messages: list[Message]) -> list[Frame]:
    return [message.frame for message in messages if isinstance(message, Deliver)]


def acks(messages: list[Message]) -> list[str]:
    return [frame.status for frame in frames(messages) if isinstance(frame, RegisterAck)]


def online(messages: list[Message]) -> list[WorkerOnline]:
    return [message for message in messages if isinstance(message, WorkerOnline)]


# Greeting


def test_a_new_socket_is_challenged_and_watched() -> None:
    assert Door().open(1) == [
        Deliver(1, Challenge("nonce-1", NETWORK)),
        SetTimer("heartbeat:1", TIME_TO_REGISTER, HeartbeatDue(1)),
    ]


def test_each_socket_gets_a_nonce_of_its_own_that_cannot_be_guessed() -> None:
    core = RegistryCore(NETWORK, MatchingPolicy())
    nonces = set()
    for worker_id in range(10):
        (challenge,) = frames(core.opened(worker_id, SteadyMs(0)))
        assert isinstance(challenge, Challenge)
        assert len(challenge.nonce) == 64
        nonces.add(challenge.nonce)
    assert len(nonces) == 10


@pytest.mark.parametrize(
    "frame",
    [Heartbeat(PUBKEY), completion("job"), ReceiptSubmit(msgspec.Raw(b"{}"), "")],
    ids=["heartbeat", "job_complete", "receipt_submit"],
)
def test_nothing_counts_before_registration(frame: WorkerFrame) -> None:
    door = Door()
    door.open(1)
    (answer,) = door.frame(1, frame)
    assert isinstance(answer, Deliver)
    assert isinstance(answer.frame, ErrorFrame)
    assert answer.frame.code == "NOT_REGISTERED"


def test_a_frame_from_an_unknown_socket_is_ignored() -> None:
    assert Door().frame(1, registration()) == []


# Registration


def test_a_worker_without_proof_registers_and_has_to_settle() -> None:
    door = Door()
    door.open(1)
    assert door.register(1) == [
        Deliver(1, RegisterAck("ok", worker_id="1")),
        WorkerOnline(
            1, PUBKEY, ProviderType.DESKTOP, frozenset([JobType.TASK]), (), 1, proven=False, held=()
        ),
        SetTimer("settle:1", MatchingPolicy().settle_delay, SettleDue(1)),
    ]
    assert door.core.settle_due(1) == [WorkerSettled(1)]


def test_a_worker_with_proof_is_online_as_proven_and_need_not_settle() -> None:
    door = Door()
    door.open(1)
    messages = door.register(
        1,
        **proof("nonce-1"),
        slots=3,
        models=[Model("llama"), Model("qwen")],
        active_jobs=[HeldJob("job", 2)],
        capabilities=["TASK", "LLM_INFER"],
        instance="run-1",
        features=["sealed/v1", "of a newer version"],
    )
    assert messages == [
        Deliver(1, RegisterAck("ok", worker_id="1")),
        WorkerOnline(
            1,
            PUBKEY,
            ProviderType.DESKTOP,
            frozenset(JobType),
            ("llama", "qwen"),
            3,
            proven=True,
            held=(HeldJob("job", 2),),
            instance="run-1",
            features=frozenset(["sealed/v1", "of a newer version"]),
        ),
    ]


@pytest.mark.parametrize(
    "claim",
    [
        proof("nonce-1") | {"signature": "AAAA"},
        proof("nonce-1") | {"signature": ""},
        proof("nonce-2"),
        proof("nonce-1") | {"nonce": "nonce-2"},
        proof("nonce-1", network="test:2"),
        proof("nonce-1", pubkey=OTHER),
        {"nonce": "nonce-1"},
        {"signature": proof("nonce-1")["signature"]},
    ],
    ids=[
        "bad signature",
        "empty signature",
        "nonce of another socket",
        "signature over another nonce",
        "another network",
        "signature for another key",
        "no signature",
        "no nonce",
    ],
)
def test_a_proof_that_does_not_hold_is_refused_rather_than_ignored(claim: dict[str, str]) -> None:
    door = Door()
    door.open(1)
    door.open(2)
    messages = door.register(1, **claim)
    assert acks(messages) == ["error"]
    assert len(messages) == 1
    assert door.core.online == 0


def test_a_registration_that_somebody_heard_proves_nothing_on_another_connection() -> None:
    door = Door()
    door.open(1)
    heard = registration(**proof("nonce-1"))
    assert acks(door.frame(1, heard)) == ["ok"]
    door.open(2)
    assert acks(door.frame(2, heard)) == ["error"]
    door.core.closed(1)
    door.open(3)
    assert acks(door.frame(3, heard)) == ["error"]
    assert door.core.online == 0


def test_a_nonce_proves_one_key_and_no_second_one() -> None:
    other = SigningKey(b"o" * 32)
    theirs = public_key_hex(other)
    signature = sign_base64(other, registration_message(NETWORK, "nonce-1", theirs))
    door = Door().registered(1, **proof("nonce-1"))
    messages = door.register(1, provider_pubkey=theirs, nonce="nonce-1", signature=signature)
    assert acks(messages) == ["error"]


def test_a_nonce_is_used_up_by_a_wrong_signature() -> None:
    door = Door()
    door.open(1)
    assert acks(door.register(1, **proof("nonce-1") | {"signature": "AAAA"})) == ["error"]
    assert acks(door.register(1, **proof("nonce-1"))) == ["error"]
    assert door.core.online == 0


def test_a_proof_cannot_be_used_for_somebody_elses_key() -> None:
    door = Door()
    door.open(1)
    assert acks(door.register(1, pubkey=OTHER, **proof("nonce-1"), provider_pubkey=OTHER)) == ["error"]


def test_capabilities_that_this_version_does_not_know_are_kept_out_of_matching() -> None:
    door = Door()
    door.open(1)
    (worker,) = online(door.register(1, capabilities=["PAINT", "TASK"]))
    assert worker.job_types == {JobType.TASK}


def test_a_worker_that_can_do_nothing_known_is_refused() -> None:
    door = Door()
    door.open(1)
    assert acks(door.register(1, capabilities=["PAINT"])) == ["error"]
    assert door.core.online == 0


# Registering twice


def test_registering_twice_on_one_socket_is_one_entry() -> None:
    door = Door().registered(1)
    (worker,) = online(door.register(1, capabilities=["LLM_INFER"]))
    assert worker.job_types == {JobType.LLM_INFER}
    assert door.core.online == 1
    assert door.core.closed(1) == [WorkerOffline(1)]
    assert door.core.online == 0


def test_a_socket_may_change_its_key() -> None:
    door = Door().registered(1)
    (worker,) = online(door.register(1, provider_pubkey=OTHER))
    assert worker.pubkey == OTHER
    assert door.core.online == 1
    assert frames(door.frame(1, Heartbeat(PUBKEY))) == [
        ErrorFrame("WRONG_KEY", "This socket registered another provider key.")
    ]


def test_a_refused_registration_leaves_the_earlier_one_as_it_was() -> None:
    door = Door().registered(1)
    assert acks(door.register(1, capabilities=["PAINT"])) == ["error"]
    assert door.core.online == 1
    assert frames(door.frame(1, Heartbeat(PUBKEY))) == [HeartbeatAck("ok")]


def test_two_unproven_sockets_of_one_key_are_two_entries() -> None:
    door = Door().registered(1).registered(2)
    assert door.core.online == 2
    door.core.closed(1)
    assert door.core.online == 1
    assert frames(door.frame(2, Heartbeat(PUBKEY))) == [HeartbeatAck("ok")]


def test_the_holder_of_a_key_replaces_its_own_earlier_connection() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    door.open(2)
    messages = door.register(2, **proof("nonce-2"))
    assert messages[:2] == [
        WorkerOffline(1),
        CloseSocket(1, 4001, "replaced by a newer connection of this key"),
    ]
    assert [worker.worker_id for worker in online(messages)] == [2]
    assert door.core.online == 1
    assert door.core.closed(1) == []


def test_whoever_only_names_a_key_is_refused_while_its_holder_is_there() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    door.open(2)
    messages = door.register(2)
    assert acks(messages) == ["error"]
    assert messages[1:] == [CloseSocket(2, 1008, PRETENDER)]
    assert door.core.online == 1
    assert frames(door.frame(1, Heartbeat(PUBKEY))) == [HeartbeatAck("ok")]
    assert door.frame(2, Heartbeat(PUBKEY)) == []


def test_whoever_only_names_a_key_may_do_so_again_when_its_holder_is_gone() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    door.core.closed(1)
    door.registered(2)
    assert door.core.online == 1


def test_the_holder_of_a_key_ends_the_connections_that_only_name_it() -> None:
    door = Door().registered(1).registered(2)
    door.registered(3, provider_pubkey=OTHER)
    door.open(4)
    messages = door.register(4, **proof("nonce-4"))
    assert messages[:4] == [
        WorkerOffline(1),
        CloseSocket(1, 1008, PRETENDER),
        WorkerOffline(2),
        CloseSocket(2, 1008, PRETENDER),
    ]
    assert [worker.worker_id for worker in online(messages)] == [4]
    assert door.core.online == 2


def test_a_socket_that_named_its_key_may_prove_it_later() -> None:
    door = Door().registered(1)
    messages = door.register(1, **proof("nonce-1"))
    assert [worker.proven for worker in online(messages)] == [True]
    assert not any(isinstance(message, CloseSocket) for message in messages)
    assert door.core.online == 1


def test_a_socket_that_proved_its_key_need_not_prove_it_again() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    (worker,) = online(door.register(1, slots=2))
    assert (worker.proven, worker.slots) == (True, 2)


def test_a_proven_worker_may_register_again_on_its_socket() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    messages = door.register(1, **proof("nonce-1"), slots=2)
    assert [type(message) for message in messages] == [Deliver, WorkerOnline]
    assert door.core.online == 1


def test_a_key_that_was_given_up_is_not_replaced() -> None:
    door = Door().registered(1, **proof("nonce-1"))
    door.register(1, provider_pubkey=OTHER)
    door.open(2)
    assert WorkerOffline(1) not in door.register(2, **proof("nonce-2"))


# What registered workers say


def test_a_frame_about_a_job_goes_to_the_matcher_with_the_identity_of_its_socket() -> None:
    for claim, proven in (({}, False), (proof("nonce-1"), True)):
        door = Door().registered(1, **claim)
        frame = completion("job")
        assert door.frame(1, frame) == [WorkerSaid(1, PUBKEY, proven, frame)]


def test_a_receipt_of_its_own_goes_to_the_store() -> None:
    door = Door().registered(1)
    assert door.frame(1, ReceiptSubmit(msgspec.Raw(b'{"a":1}'), "c2ln")) == [
        KeepReceipt(1, PUBKEY, b'{"a":1}', "c2ln")
    ]


def test_heartbeats_belong_to_the_socket_they_arrive_on() -> None:
    door = Door().registered(1).registered(2)
    door.now = SILENCE - 1
    door.frame(2, Heartbeat(PUBKEY))
    door.now = SILENCE
    assert WorkerOffline(1) in door.look(1)
    assert WorkerOffline(2) not in door.look(2)


# Silence


def test_a_silent_worker_is_dropped_and_its_socket_closed() -> None:
    door = Door().registered(1)
    door.now = SILENCE
    assert door.look(1) == [WorkerOffline(1), CloseSocket(1, 1008, "no heartbeat")]
    assert door.core.online == 0
    assert door.core.closed(1) == []


def test_any_frame_shows_that_a_worker_is_there_and_it_is_looked_at_again_in_time() -> None:
    door = Door().registered(1)
    door.now = 10_000
    door.frame(1, Heartbeat(PUBKEY))
    door.now = SILENCE
    assert door.look(1) == [SetTimer("heartbeat:1", DurationMs(10_000), HeartbeatDue(1))]


@pytest.mark.parametrize("tries", [0, 3])
def test_a_socket_that_does_not_get_registered_in_time_is_closed(tries: int) -> None:
    door = Door()
    door.open(1)
    door.now = TIME_TO_REGISTER - 1
    for _ in range(tries):
        assert acks(door.register(1, capabilities=["PAINT"])) == ["error"]
    assert door.look(1) == [SetTimer("heartbeat:1", DurationMs(1), HeartbeatDue(1))]
    door.now = TIME_TO_REGISTER
    assert door.look(1) == [CloseSocket(1, 1008, "not registered in time")]


def test_a_registered_socket_has_the_usual_time_until_its_first_heartbeat() -> None:
    door = Door().registered(1)
    door.now = TIME_TO_REGISTER
    left = DurationMs(SILENCE - TIME_TO_REGISTER)
    assert door.look(1) == [SetTimer("heartbeat:1", left, HeartbeatDue(1))]


def test_timers_of_a_socket_that_is_gone_change_nothing() -> None:
    door = Door().registered(1)
    door.core.closed(1)
    assert door.look(1) == []
    assert door.core.settle_due(1) == []


def test_a_socket_that_did_not_register_does_not_settle() -> None:
    door = Door()
    door.open(1)
    assert door.core.settle_due(1) == []


def test_a_socket_that_closes_before_it_registered_is_no_workers_end() -> None:
    door = Door()
    door.open(1)
    assert door.core.closed(1) == []
    assert door.core.closed(1) == []


# Floods


def test_beyond_so_many_workers_no_more_are_taken_until_one_leaves() -> None:
    door = Door(max_workers=2).registered(1).registered(2, provider_pubkey=OTHER)
    door.open(3)
    full = [CloseSocket(3, 1013, "too many workers; try again later")]
    assert door.register(3, provider_pubkey=key("c")) == full
    assert door.core.online == 2
    door.core.closed(1)
    door.registered(4, provider_pubkey=key("d"))


def test_those_who_are_in_may_register_again_when_it_is_full() -> None:
    door = Door(max_workers=1).registered(1)
    assert acks(door.register(1, slots=2)) == ["ok"]
    door.open(2)
    assert acks(door.register(2, **proof("nonce-2"))) == ["ok"]
    assert door.core.online == 1


def test_a_socket_that_registers_again_and_again_is_closed() -> None:
    door = Door(max_registrations=3).registered(1)
    assert [acks(door.register(1, capabilities=["PAINT"])), acks(door.register(1))] == [["error"], ["ok"]]
    assert door.register(1) == [WorkerOffline(1), CloseSocket(1, 1008, "too many registrations")]


def test_registrations_are_counted_by_the_minute() -> None:
    door = Door(max_registrations=1).registered(1)
    door.now = 60_000
    assert acks(door.register(1)) == ["ok"]


# The end


def test_all_sockets_are_told_goodbye_and_their_jobs_stay_theirs() -> None:
    door = Door().registered(1, **proof("nonce-1")).registered(2, provider_pubkey=OTHER)
    door.open(3)
    assert door.core.close_all() == [CloseSocket(number, 1001, "coordinator stops") for number in (1, 2, 3)]
    assert door.core.online == 0
    for number in (1, 2, 3):
        assert door.core.closed(number) == []
        assert door.frame(number, Heartbeat(PUBKEY)) == []
