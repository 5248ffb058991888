"""What the worker offers, given what Ollama says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute_router.protocol.messages import MAX_MODEL_NAMES_BYTES, MAX_MODELS, Model
from compute_router.worker.ollama_watch import Check, Offer, OllamaWatchActor, look_at_ollama, offer_of
from compute_router.worker.session_events import ModelsChanged
from tests.fakes.ollama_server import OllamaServer

A, B, CLOUD = Model("a:latest"), Model("b:7b"), Model("big:120b-cloud")


def test_models_are_offered_in_ollamas_order() -> None:
    assert offer_of([A, B], None).models == (A, B)


@pytest.mark.parametrize("default", ["b:7b"])
def test_the_default_model_comes_first(default: str) -> None:
    assert offer_of([A, B], default).models == (B, A)


def test_a_default_model_may_be_named_without_its_tag() -> None:
    assert offer_of([B, A], "a").models == (A, B)


def test_a_default_model_that_ollama_lacks_means_no_offer() -> None:
    offer = offer_of([A], "c")
    assert offer.models == ()
    assert "ollama pull c" in offer.sentence


def test_models_in_the_cloud_are_not_offered() -> None:
    assert offer_of([CLOUD, A], None).models == (A,)
    assert offer_of([CLOUD], None).models == ()


def test_no_more_models_are_offered_than_the_protocol_takes() -> None:
    listed = [Model(f"m:{number}") for number in range(MAX_MODELS + 1)]
    assert len(offer_of(listed, None).models) == MAX_MODELS
    longest = [Model(f"{number:0250}") for number in range(MAX_MODELS)]
    names = [model.name for model in offer_of(longest, None).models]
    assert MAX_MODEL_NAMES_BYTES - 250 < len("".join(names)) <= MAX_MODEL_NAMES_BYTES


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer(models=["a:latest", "b:7b"]) as server:
        yield server


def test_ollama_is_asked_for_its_models(ollama: OllamaServer) -> None:
    offer = look_at_ollama(ollama.url, None)
    assert [model.name for model in offer.models] == ["a:latest", "b:7b"]
    assert offer.models[0].digest == "d" * 64


def test_ollama_without_models_is_no_offer(ollama: OllamaServer) -> None:
    ollama.models.clear()
    offer = look_at_ollama(ollama.url, None)
    assert offer.models == ()
    assert "no local model" in offer.sentence


def test_ollama_that_does_not_answer_is_no_offer(ollama: OllamaServer) -> None:
    ollama.stop()
    offer = look_at_ollama(ollama.url, None)
    assert offer.models == ()
    assert offer.sentence.startswith(f"Ollama does not answer at {ollama.url}, so only TASK jobs are served.")


@pytest.mark.parametrize("answer", [b"hello", b"[]", b"5", b"{}", b'{"models":5}', b"\xff"])
def test_something_else_on_ollamas_port_is_no_offer(ollama: OllamaServer, answer: bytes) -> None:
    ollama.tags_answer = answer
    assert look_at_ollama(ollama.url, None).models == ()


def test_only_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    offers = iter([Offer((), "away"), Offer((), "still away"), Offer((A,), "there"), Offer((), "gone")])
    told: list[ModelsChanged] = []
    watch = OllamaWatchActor(lambda: next(offers), told.append)
    with caplog.at_level("INFO"):
        for _ in range(4):
            watch.on_receive(Check())
    assert told == [ModelsChanged(()), ModelsChanged((A,)), ModelsChanged(())]
    assert [record.message for record in caplog.records] == ["away", "there", "gone"]
