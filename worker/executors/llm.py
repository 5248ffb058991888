"""Inference through Ollama."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, cast

import httpx
import msgspec
import ollama

from compute_router.protocol.units import DurationMs
from compute_router.worker.chunks import ChunkBatch
from compute_router.worker.executors.ollama_client import async_ollama_client, runs_elsewhere
from compute_router.worker.jobs import JobError
from compute_router.worker.session_events import MonotonicMs
from compute_router.worker.stopping import StopSign

UNCANCELLABLE_LIMIT: Final = DurationMs(600_000)
"""Longest run of a job that nobody can cancel."""

SILENCE_LIMIT: Final = DurationMs(600_000)
"""How long Ollama may say nothing; loading a large model is silent too."""

MODEL_UNAVAILABLE: Final = "model_unavailable"
UNREACHABLE: Final = "ollama_unreachable"


class Prompt(msgspec.Struct, frozen=True):
    """What a model is asked. ``max_tokens`` None leaves the length to Ollama."""

    model: str
    text: str
    max_tokens: int | None


class Generated(msgspec.Struct, frozen=True):
    """The model's answer, and the name of the model that gave it."""

    text: str
    model: str


def generate(
    ollama_url: str,
    prompt: Prompt,
    stop: StopSign,
    tell_chunk: Callable[[str], None],
    *,
    limit: DurationMs | None = None,
    silence_limit: DurationMs = SILENCE_LIMIT,
) -> Generated:
    """Run one prompt to its end; ``tell_chunk`` is called with pieces that together are the answer.

    When ``stop`` is raised, the connection to Ollama is closed at once, which ends its work too. Without a
    ``limit`` only the stop sign bounds the time.

    Raises:
        JobStoppedError: ``stop`` was raised.
        JobError: ``model_unavailable``, ``ollama_unreachable``, ``ollama_error``, ``ollama_stalled``,
            ``ollama_incomplete``, ``empty_answer`` or ``deadline_exceeded``. All are retryable: another
            worker has another Ollama.
    """
    if runs_elsewhere(prompt.model):
        raise _failure(MODEL_UNAVAILABLE, f"The model {prompt.model} does not run on this machine.")
    try:
        # A loop of its own, because only asyncio can interrupt every wait of a request.
        return asyncio.run(_generate(ollama_url, prompt, stop, tell_chunk, limit, silence_limit))
    except asyncio.CancelledError:
        stop.check()
        raise


async def _generate(
    ollama_url: str,
    prompt: Prompt,
    stop: StopSign,
    tell_chunk: Callable[[str], None],
    limit: DurationMs | None,
    silence_limit: DurationMs,
) -> Generated:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "asyncio.run runs this in a task"
    with stop.waking(lambda: loop.call_soon_threadsafe(task.cancel)):
        try:
            async with (
                asyncio.timeout(None if limit is None else limit / 1000),
                async_ollama_client(ollama_url, silence_limit / 1000) as client,
                aclosing(_stream(client, prompt)) as parts,
            ):
                return await _gather(parts, prompt.model, tell_chunk)
        except TimeoutError as error:
            raise _failure("deadline_exceeded", "The model did not finish in time.") from error


async def _gather(
    parts: AsyncGenerator[ollama.GenerateResponse, None], model: str, tell_chunk: Callable[[str], None]
) -> Generated:
    pieces: list[str] = []
    batch = ChunkBatch()
    async for part in parts:
        piece = part.response or ""
        pieces.append(piece)
        if chunk := batch.add(piece, MonotonicMs(time.monotonic_ns() // 1_000_000)):
            tell_chunk(chunk)
        if part.done:
            if chunk := batch.rest():
                tell_chunk(chunk)
            return _answer("".join(pieces), model, part.done_reason)
    raise _failure("ollama_incomplete", "Ollama ended its answer before the model was done.")


def _answer(text: str, model: str, done_reason: str | None) -> Generated:
    if not text.strip():
        raise _failure("empty_answer", f"The model {model} answered nothing (reason: {done_reason}).")
    return Generated(text, model)


async def _stream(
    client: ollama.AsyncClient, prompt: Prompt
) -> AsyncGenerator[ollama.GenerateResponse, None]:
    options = {} if prompt.max_tokens is None else {"num_predict": prompt.max_tokens}
    try:
        answer = await client.generate(model=prompt.model, prompt=prompt.text, options=options, stream=True)
        # It is a generator, though its type does not say so; closing it closes the connection.
        async with aclosing(cast("AsyncGenerator[ollama.GenerateResponse, None]", answer)) as parts:
            async for part in parts:
                yield part
    except ollama.ResponseError as error:
        if error.status_code == httpx.codes.NOT_FOUND:
            raise _failure(MODEL_UNAVAILABLE, f"Ollama has no model {prompt.model}.") from error
        if error.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise _failure(UNREACHABLE, f"Ollama takes no request now: {error.error}") from error
        raise _failure("ollama_error", f"Ollama reports: {error.error}") from error
    except httpx.ReadTimeout as error:
        raise _failure("ollama_stalled", "Ollama said nothing for too long.") from error
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise _failure(UNREACHABLE, f"Ollama cannot be reached: {error}") from error
    except httpx.HTTPError as error:
        raise _failure("ollama_incomplete", f"The connection to Ollama broke: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        # The client parses each line without checking that it is an object of the right form.
        raise _failure("ollama_error", f"Ollama sent a line that cannot be read: {error}") from error


def _failure(code: str, message: str) -> JobError:
    return JobError(code, message, retryable=True)
