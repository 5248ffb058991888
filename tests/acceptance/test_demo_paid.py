"""``make demo-paid`` as a user has it: two chains, two coordinators, real settlements."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.processes import ROOT

pytestmark = pytest.mark.acceptance

PATIENCE_SECONDS = 110  # it takes about fifteen on a machine with nothing else to do


def start(directory: Path) -> subprocess.Popen[str]:
    """The demo in a session of its own, with this directory for what is temporary."""
    return subprocess.Popen(
        [sys.executable, "-m", "tools.demo_paid"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def nothing_is_left(demo: subprocess.Popen[str], directory: Path) -> bool:
    """Whether no process of its session lives, and no file."""
    try:
        os.killpg(demo.pid, 0)
    except ProcessLookupError:
        return not list(directory.iterdir())
    return False


def test_the_paid_demo_pays_for_finished_jobs_and_for_nothing_else(tmp_path: Path) -> None:
    demo = start(tmp_path)
    said, _ = demo.communicate(timeout=PATIENCE_SECONDS)

    assert demo.returncode == 0, said
    for who, before, then, in_the_end in (
        ("seeker", "$0.050", "$0.046", "$0.046"),
        ("operator", "$0.000", "$0.004", "$0.0002"),
        ("worker", "$0.000", "$0.000", "$0.0038"),
    ):
        shown = [
            amount
            for line in said.splitlines()
            for amount in re.findall(rf"^ +(\S+) +{who} +\w{{32,}}$", line)
        ]
        assert shown == 2 * [before, then, in_the_end], who
    assert said.count("so its payment of $0.010 is void") == 2
    assert said.count("classify, PRIVATE, sealed") == 2
    assert said.count("extract, x402 version 1") == said.count("extract, x402 version 2") == 2
    assert len(re.findall(r"settled by 0x[0-9a-f]{64}\n", said)) == 4
    assert len(re.findall(r"settled by [1-9A-HJ-NP-Za-km-z]{80,90}\n", said)) == 4
    assert said.count("would pay $0.0038 to ") == 2
    assert said.count("1 paid, 0 owed again, 0 still open") == 2
    assert said.count("paid out   $0.0038") == 2
    assert "Every balance is right." in said
    assert nothing_is_left(demo, tmp_path)


def test_interrupted_it_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout is not None
    # Both networks run from here on.
    while not demo.stdout.readline().startswith("Monad testnet"):
        assert demo.poll() is None, "it ended by itself"
    os.killpg(demo.pid, signal.SIGINT)
    said, _ = demo.communicate(timeout=PATIENCE_SECONDS)

    assert demo.returncode == 130, said
    assert nothing_is_left(demo, tmp_path)
