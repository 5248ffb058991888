"""``docs/payment_faults.md`` names tests for each fault; they must exist, and run on the chains it says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "payment_faults.md").read_text("utf-8")
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`(?: \((Monad|Solana)\))?")
OF_BOTH = {"scene", "chain", "town", "start"}
"""Fixtures and parameters that a test has once for each chain."""


@cache
def parameters_in(path: str) -> dict[str, set[str]]:
    """The tests in a file, and the names of their parameters."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = {argument.arg for argument in node.args.args}
    return found


def fault_of(row: str) -> str:
    return row.split(" | ")[0].removeprefix("| ")


@pytest.mark.parametrize("row", ROWS, ids=fault_of)
def test_every_fault_names_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row)
    assert named
    assert len(named) == row.count("::"), "a test is named in another form"
    for path, name, _ in named:
        assert name in parameters_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.split(" | ")[2] == "both"], ids=fault_of)
def test_a_fault_of_both_chains_is_tested_on_both(row: str) -> None:
    named = NAMED.findall(row)
    on_both = [name for path, name, only in named if not only and parameters_in(path)[name] & OF_BOTH]
    assert on_both or {only for _, _, only in named} >= {"Monad", "Solana"}


def test_the_document_is_whole() -> None:
    assert len(ROWS) >= 30
    assert {row.split(" | ")[2].split(";")[0] for row in ROWS} == {"both", "any", "Monad"}
