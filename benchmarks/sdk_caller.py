"""Child process that runs lone jobs through the SDK and prints how long each took, as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from benchmarks.clients import TASK_INPUT
from benchmarks.errors import BenchmarkError
from benchmarks.load_log import Seconds
from compute_router.sdk import ComputeRouter

_WARM_UP_CALLS: Final = 50


class SdkLatencies(msgspec.Struct, frozen=True):
    """Time of whole jobs, from the call to the checked result, and of the quotes that they begin with."""

    jobs: list[Seconds]
    quotes: list[Seconds]


def main(base_url: str, calls: int) -> None:
    """Time jobs and quotes one after another."""
    with ComputeRouter(base_url, user_id="sdk-caller") as router:
        latencies = SdkLatencies(
            jobs=_timed(lambda: _run_job(router), calls),
            quotes=_timed(lambda: router.quote("TASK"), calls),
        )
    print(msgspec.json.encode(latencies).decode())


def _run_job(router: ComputeRouter) -> None:
    result = router.run_task("classify", TASK_INPUT)
    if not result.verified:
        raise BenchmarkError(f"The SDK could not verify a result: {result}")


def _timed(call: Callable[[], object], calls: int) -> list[Seconds]:
    for _ in range(_WARM_UP_CALLS):
        call()
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        times.append(Seconds(time.perf_counter() - started))
    return times


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
