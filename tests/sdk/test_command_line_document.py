"""docs/command_line.md names every command with its every flag."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from compute_router.sdk.cli_parser import build_parser
from compute_router.sdk.cli_processes import MODULES

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text("utf-8")


def commands(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The words of each command and its flags."""
    deeper = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if words and not deeper:
        yield " ".join(words), frozenset(flag for each in parser._actions for flag in each.option_strings)
    for action in deeper:
        for name, below in action.choices.items():
            yield from commands(below, *words, name)


COMMANDS: Final = {
    name: flags - {"-h", "--help"} for name, flags in commands(build_parser()) if name not in MODULES
}


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def section(title: str) -> str:
    (found,) = re.findall(rf"^## [^\n]*{title}[^\n]*\n(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


def rows(name: str) -> str:
    return "\n".join(line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_names_each_command_with_its_flags(name: str) -> None:
    own = section(name) if name.startswith("run ") else rows(name)
    assert own, "the document does not know this command"
    assert COMMANDS[name] <= flags_in(own) | flags_in(section("Most commands"))


def test_the_document_names_no_flag_that_no_command_has() -> None:
    assert flags_in(DOCUMENT) <= set().union(*COMMANDS.values()) | {"--help"}


@pytest.mark.parametrize("program", MODULES)
def test_the_document_says_where_the_flags_of_a_program_are(program: str) -> None:
    assert f"`{program}`" in DOCUMENT
