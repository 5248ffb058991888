"""Inference through Ollama."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Final

import httpx
import msgspec
import ollama

from compute_router.protocol.units import DurationMs
from compute_router.worker.executors.ollama_client import ollama_client, runs_elsewhere
from compute_router.worker.jobs import JobError

DEFAULT_TIME: Final = DurationMs(600_000)
"""Longest run of a job whose coordinator sets no deadline."""

UNREACHABLE: Final = "ollama_unreachable"


class Generated(msgspec.Struct, frozen=True):
    """The model's answer, and the name of the model that gave it."""

    text: str
    model: str


def generate(
    ollama_url: str, model: str, prompt: str, max_tokens: int | None, time_left: DurationMs | None
) -> Generated:
    """Run one prompt to its end. The answer is streamed, so that it can be stopped at the deadline.

    Raises:
        JobError: ``model_unavailable``, ``ollama_unreachable``, ``ollama_error``, ``ollama_incomplete``,
            ``empty_answer`` or ``deadline_exceeded``. All are retryable: another worker has another Ollama.
    """
    if runs_elsewhere(model):
        raise _failure("model_unavailable", f"The model {model} does not run on this machine.")
    seconds = (time_left or DEFAULT_TIME) / 1000
    deadline = time.monotonic() + seconds
    pieces = []
    with (
        ollama_client(ollama_url, read_seconds=seconds) as client,
        closing(_stream(client, model, prompt, max_tokens)) as parts,
    ):
        for part in parts:
            pieces.append(part.response or "")
            if part.done:
                return _answer("".join(pieces), model, part.done_reason)
            if time.monotonic() >= deadline:
                raise _failure("deadline_exceeded", "The model did not finish before the deadline.")
    raise _failure("ollama_incomplete", "Ollama ended its answer before the model was done.")


def _answer(text: str, model: str, done_reason: str | None) -> Generated:
    if not text.strip():
        raise _failure("empty_answer", f"The model {model} answered nothing (reason: {done_reason}).")
    return Generated(text, model)


def _stream(
    client: ollama.Client, model: str, prompt: str, max_tokens: int | None
) -> Generator[ollama.GenerateResponse, None, None]:
    options = {} if max_tokens is None else {"num_predict": max_tokens}
    try:
        yield from client.generate(model=model, prompt=prompt, options=options, stream=True)
    except ollama.ResponseError as error:
        if error.status_code == httpx.codes.NOT_FOUND:
            raise _failure("model_unavailable", f"Ollama has no model {model}.") from error
        raise _failure("ollama_error", f"Ollama reports: {error.error}") from error
    except httpx.ReadTimeout as error:
        raise _failure("deadline_exceeded", "Ollama did not answer before the deadline.") from error
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise _failure(UNREACHABLE, f"Ollama cannot be reached: {error}") from error
    except httpx.HTTPError as error:
        raise _failure("ollama_incomplete", f"The connection to Ollama broke: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        # The client parses each line without checking that it is an object of the right form.
        raise _failure("ollama_error", f"Ollama sent a line that cannot be read: {error}") from error


def _failure(code: str, message: str) -> JobError:
    return JobError(code, message, retryable=True)
