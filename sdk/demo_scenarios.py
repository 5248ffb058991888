"""The three jobs that the demo runs, and what it tells about each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from compute_router.protocol.units import format_usd
from compute_router.sdk.cli_output import printable, result_text, short_key
from compute_router.sdk.demo_network import DemoNetwork
from compute_router.sdk.demo_processes import DemoFailedError
from compute_router.sdk.results import LlmResult, TaskResult

_LLM_TIMEOUT_S: Final = 180.0  # a model that is not loaded yet can take minutes
_PROMPT: Final = "In one sentence: why is the sky blue?"
_ARTICLE: Final = (
    "Most computers are idle most of the time. A desktop that renders video in the evening waits for its"
    " owner all day, and a phone waits all night. A network can put those hours to use. Whoever needs a"
    " summary or an answer sends a job to a coordinator, which finds a free machine that can do it. The"
    " machine signs its result, so that anybody can check later who computed what."
)
_REVIEW: Final = "The battery lasts two days and the screen is wonderful. I love this phone."


def run_scenarios(network: DemoNetwork, why_no_inference: str | None) -> None:
    """Run all three. Inference is left out, and that said, when there is a reason why it cannot run.

    Raises:
        ComputeRouterError: a job that should have worked did not.
    """
    print("\n1. PUBLIC inference, FAST")
    if why_no_inference is None:
        _show(network, lambda: _inference(network))
    else:
        print(f"   NOT RUN: {why_no_inference}")
        print("   To run it, install Ollama (https://ollama.com), pull a model, and start the demo again:")
        print("   ollama pull llama3.2:1b")
    print("\n2. PUBLIC summary, CHEAP")
    _show(network, lambda: network.router.run_task("summarize", _ARTICLE, policy="CHEAP"))
    print("\n3. PRIVATE sentiment, only on the user's own worker")
    server = _show(network, lambda: network.router.run_task("classify", _REVIEW, privacy="PRIVATE"))
    if server != network.own.pubkey:
        raise DemoFailedError("A PRIVATE job was served by a worker that is not paired with the user.")


def _inference(network: DemoNetwork) -> LlmResult:
    return network.router.run_llm(_PROMPT, policy="FAST", max_tokens=64, timeout_s=_LLM_TIMEOUT_S)


def _show(network: DemoNetwork, run: Callable[[], LlmResult | TaskResult]) -> str | None:
    started_at = time.monotonic()
    result = run()
    elapsed_s = time.monotonic() - started_at
    if not result.verified:
        raise DemoFailedError(f"The result is not verified: {result.verification_error}")
    worker = network.worker_of(result.worker_pubkey)
    paired = ", paired with the user" if worker is network.own else ""
    assert result.price is not None, "a job of the network has a quoted price"
    print(f"   result   {result_text(result)}")
    print(f"   worker   {worker.name} ({worker.provider_type.value}{paired}), key {short_key(worker.pubkey)}")
    print(f"   price    {format_usd(result.price)}, {elapsed_s:.2f} s, job {printable(str(result.job_id))}")
    print("   receipt  verified: result hash and worker's signature are right", flush=True)
    return result.worker_pubkey
