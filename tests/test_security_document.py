"""``docs/security.md`` names a test for every attack; each of them must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)))
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and line.count("|") == 4]


def names_in(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).is_file()
    assert not {name for where, name in NAMED if where == path} - names_in(ROOT / path)


def test_every_attack_names_a_test() -> None:
    attacks = [row for row in ROWS if not row.startswith("| attack |")]
    assert len(attacks) > 40
    assert not [row for row in attacks if "::test_" not in row]


def test_nothing_that_looks_like_a_test_is_named_in_another_form() -> None:
    assert len(re.findall(r"::test_", DOCUMENT)) == len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", DOCUMENT))
