"""``make demo-paid`` as a user has it: two chains, two coordinators, real settlements."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.fakes.processes import ROOT

pytestmark = pytest.mark.acceptance

PATIENCE_SECONDS = 110  # it takes about ten on a machine with nothing else to do


def test_the_paid_demo_pays_for_finished_jobs_and_for_nothing_else() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "tools.demo_paid"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.count("before the seeker has $0.050, the operator $0.000") == 2
    assert demo.stdout.count("after  the seeker has $0.048, the operator $0.002") == 2
    assert demo.stdout.count("nothing was charged") == 2
    assert demo.stdout.count("earned by the worker $0.0019, by the operator $0.0001") == 2
    assert len(re.findall(r"settled by 0x[0-9a-f]{64}\n", demo.stdout)) == 2
    assert len(re.findall(r"settled by [1-9A-HJ-NP-Za-km-z]{80,90}\n", demo.stdout)) == 2
    assert "Every balance is right." in demo.stdout
