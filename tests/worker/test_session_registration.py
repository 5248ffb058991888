"""How a worker registers: challenge, proof, models, refusals."""

from __future__ import annotations

import pytest

from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import Register, registration_message
from compute_router.protocol.receipts import verify_signature
from compute_router.worker.session_events import (
    ClosedForGood,
    CloseSocket,
    Connected,
    Disconnected,
    ModelsChanged,
    ReconnectDue,
    ScheduleReconnect,
)
from compute_router.worker.timing import CHALLENGE_WAIT, REGISTER_WAIT
from tests.worker.conversation import LLAMA, NETWORK, PUBKEY, QWEN, Conversation, frames


def test_nothing_is_done_before_the_first_word_about_models() -> None:
    assert Conversation().session.wake_at is None


def test_a_challenge_is_answered_with_proof_of_the_key() -> None:
    talk = Conversation(slots=2, models=(LLAMA, QWEN))
    talk.connects()
    (register,) = frames(talk.hears(type="challenge", nonce="n1", network=NETWORK))
    assert isinstance(register, Register)
    assert (register.provider_pubkey, register.provider_type) == (PUBKEY, ProviderType.DESKTOP)
    assert register.capabilities == ["LLM_INFER", "TASK"]
    assert (register.slots, register.models, register.agent) == (2, [LLAMA, QWEN], "test/1")
    assert register.nonce == "n1"
    assert register.signature is not None
    verify_signature(PUBKEY, registration_message(NETWORK, "n1", PUBKEY), register.signature)


def test_without_a_challenge_the_worker_registers_without_proof_after_a_moment() -> None:
    talk = Conversation()
    talk.connects()
    assert talk.passes(CHALLENGE_WAIT - 1) == []
    (register,) = frames(talk.passes(1))
    assert isinstance(register, Register)
    assert (register.nonce, register.signature) == (None, None)


@pytest.mark.parametrize("welcomed_first", [False, True])
def test_a_late_challenge_is_still_answered(welcomed_first: bool) -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    if welcomed_first:
        talk.is_welcomed()
    (register,) = frames(talk.hears(type="challenge", nonce="late", network=NETWORK))
    assert isinstance(register, Register)
    assert register.nonce == "late"


def test_a_nonce_is_never_used_on_another_connection() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.nonce is None


def test_a_worker_without_models_offers_tasks_only() -> None:
    talk = Conversation()
    talk.connects()
    (register,) = frames(talk.hears(type="challenge", nonce="n", network=NETWORK))
    assert isinstance(register, Register)
    assert (register.capabilities, register.models) == (["TASK"], [])


def test_models_that_appear_or_go_away_are_registered_on_the_same_socket() -> None:
    talk = Conversation().registers()
    (appeared,) = frames(talk.happens(ModelsChanged((LLAMA,))))
    (went_away,) = frames(talk.happens(ModelsChanged(())))
    assert isinstance(appeared, Register)
    assert isinstance(went_away, Register)
    assert (appeared.capabilities, went_away.capabilities) == (["LLM_INFER", "TASK"], ["TASK"])
    assert appeared.nonce == "n1"


def test_models_that_stay_as_they_are_are_not_registered_again() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    assert talk.happens(ModelsChanged((LLAMA,))) == []


def test_models_that_change_while_there_is_no_socket_are_in_the_next_registration() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    assert talk.happens(ModelsChanged((QWEN,))) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.models == [QWEN]


def test_a_refused_registration_ends_the_worker_with_the_coordinators_words() -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    (end,) = talk.hears(type="register_ack", status="error", error="key is banned")
    assert end == ClosedForGood("The coordinator refused this worker: key is banned")
    assert talk.happens(Disconnected("gone")) == []
    assert talk.session.wake_at is None


def test_a_registration_without_answer_closes_the_socket_and_tries_again() -> None:
    talk = Conversation()
    talk.connects()
    talk.passes(CHALLENGE_WAIT)
    (close,) = talk.passes(REGISTER_WAIT)
    assert close == CloseSocket(1001, "the coordinator did not answer the registration")
    (again,) = talk.happens(Disconnected("closed"))
    assert isinstance(again, ScheduleReconnect)
