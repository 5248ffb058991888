"""Watching which models Ollama offers, so that the worker never promises what it cannot do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import accumulate
from typing import ClassVar, Final

import httpx
import msgspec
import ollama
import pykka

from compute_router.protocol.jobs import MAX_MODEL_CHARS
from compute_router.protocol.messages import MAX_MODEL_NAMES_BYTES, MAX_MODELS, Model
from compute_router.protocol.units import DurationMs
from compute_router.worker.executors.ollama_client import ollama_client, runs_elsewhere
from compute_router.worker.session_events import ModelsChanged

CHECK_EVERY: Final = DurationMs(10_000)

_LIST_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Offer(msgspec.Struct, frozen=True):
    """The models that the worker can run, the default first, and a sentence about them for the log."""

    models: tuple[Model, ...]
    sentence: str


def offer_of(listed: list[Model], default_model: str | None) -> Offer:
    """What to offer, given the models that Ollama lists.

    Models in Ollama's cloud are left out: a prompt must not leave this machine. Without the default model
    that was asked for, nothing is offered.
    """
    local = [model for model in listed if not runs_elsewhere(model.name)]
    if not local:
        return Offer((), "Ollama has no local model, so only TASK jobs are served. Get one: ollama pull NAME")
    if default_model is not None:
        wanted = (default_model, f"{default_model}:latest")
        if not any(model.name in wanted for model in local):
            return Offer(
                (),
                f"Ollama does not have the model {default_model}, so only TASK jobs are served. "
                f"Get it: ollama pull {default_model}",
            )
        local.sort(key=lambda model: model.name not in wanted)
    names = ", ".join(model.name for model in local)
    return Offer(_as_many_as_fit(local), f"Ollama answers; serving LLM_INFER with {names}.")


def _as_many_as_fit(models: list[Model]) -> tuple[Model, ...]:
    """The first models, up to what one registration may name."""
    lengths = accumulate(len(model.name.encode("utf-8", "replace")) for model in models[:MAX_MODELS])
    return tuple(
        model
        for model, bytes_so_far in zip(models, lengths, strict=False)
        if bytes_so_far <= MAX_MODEL_NAMES_BYTES
    )


def look_at_ollama(url: str, default_model: str | None) -> Offer:
    """Ask Ollama for its models; no answer is an empty offer that says why."""
    try:
        with ollama_client(url, read_seconds=_LIST_SECONDS) as client:
            listed = [
                Model(name=model.model, digest=model.digest)
                for model in client.list().models
                if model.model and len(model.model) <= MAX_MODEL_CHARS
            ]
    # The client raises ConnectionError itself, lets httpx's errors through, and ValueError when the
    # answer has another form.
    except (ConnectionError, httpx.HTTPError, ollama.ResponseError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return Offer((), f"Ollama does not answer at {url}, so only TASK jobs are served. ({reason})")
    return offer_of(listed, default_model)


class Check(msgspec.Struct, frozen=True):
    """Look at Ollama now."""


class OllamaWatchActor(pykka.ThreadingActor):
    """Looks at Ollama whenever it is told to, and tells what changed."""

    use_daemon_thread: ClassVar[bool] = True

    def __init__(self, look: Callable[[], Offer], tell: Callable[[ModelsChanged], None]) -> None:
        super().__init__()
        self._look = look
        self._tell = tell
        self._last: Offer | None = None

    def on_receive(self, _message: Check) -> None:
        """Look, and tell and log only what is new."""
        offer = self._look()
        if self._last is None or offer.models != self._last.models:
            _log.info("%s", offer.sentence)
            self._tell(ModelsChanged(offer.models))
        self._last = offer
