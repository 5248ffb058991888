"""The promise of ``tasks/v1``: a task's output depends on nothing but its payload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from compute_router.protocol.jobs import TaskType

ROOT = Path(__file__).parents[2]

# Words of equal weight, so that an order that changes from process to process would show.
TEXTS = [
    " ".join(f"Word{n} likes word{n + 1} and word{n + 2}, which is {mood}." for n in range(40))
    for mood in ("wonderful", "terrible", "there")
]
TEXTS += [
    'He said {"b": 1.10, "a": [1e2, "\\u00e9"]} and [1, {"c": null}] before {"broken": .',
    "Ça va? Überall gut.",
]

PROGRAM = """
import json, sys
from compute_router.protocol.jobs import JobType
from compute_router.worker.executors.runner import JobRunner
from compute_router.worker.jobs import Assignment, AttemptKey
from compute_router.worker.stopping import StopSign
runner = JobRunner("http://127.0.0.1:1")
for payload in json.load(sys.stdin):
    assignment = Assignment(AttemptKey("job", 1), JobType.TASK, json.dumps(payload).encode())
    sys.stdout.buffer.write(runner.run(assignment, StopSign(), lambda piece: None) + b"\\n")
"""


def outputs(payloads: list[dict[str, str]], hash_seed: str) -> list[bytes]:
    """What a process of its own puts out for these payloads."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        input=json.dumps(payloads).encode(),
        capture_output=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_every_process_gives_the_same_bytes_in_whatever_order_the_tasks_come() -> None:
    payloads = [{"task_type": kind.value, "input": text} for kind in TaskType for text in TEXTS]
    first = outputs(payloads, "1")
    assert len(first) == len(payloads)
    assert outputs(payloads[::-1], "2")[::-1] == first
