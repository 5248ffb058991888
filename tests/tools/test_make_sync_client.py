"""The blocking client is the asyncio client without waiting, and nobody writes it by hand."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from compute_router.sdk import AsyncComputeRouter, ComputeRouter
from tools import make_sync_client
from tools.make_sync_client import MADE, SOURCE, blocking, sync_client


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def test_the_file_in_the_tree_is_what_the_tool_writes() -> None:
    assert MADE.read_text("utf-8") == sync_client(), (
        f"{MADE.name} is made from {SOURCE.name}: change that one, then run python -m tools.make_sync_client"
    )


def test_the_file_says_what_it_is_made_from() -> None:
    head = sync_client().splitlines()[0]
    assert "async_client.py" in head
    assert "python -m tools.make_sync_client" in head


def test_both_clients_can_do_the_same() -> None:
    asynchronous = {"close" if name == "aclose" else name for name in public(AsyncComputeRouter)}
    assert set(public(ComputeRouter)) == asynchronous


def test_nothing_in_the_blocking_client_has_to_be_awaited() -> None:
    assert not [name for name, member in vars(ComputeRouter).items() if inspect.iscoroutinefunction(member)]


def test_both_clients_say_the_same_about_every_method() -> None:
    told = {name: inspect.getdoc(member) for name, member in public(AsyncComputeRouter).items()}
    assert {name: inspect.getdoc(member) for name, member in public(ComputeRouter).items()} == {
        "close" if name == "aclose" else name: text for name, text in told.items()
    }


@pytest.mark.parametrize(
    ("asynchronous", "expected"),
    [
        ("async def f() -> int:\n    return await g()\n", "def f() -> int:\n    return g()\n"),
        ("async with a as b, c:\n    pass\n", "with a as b, c:\n    pass\n"),
        ("x = [y async for y in await z(await w)]\n", "x = [y for y in z(w)]\n"),
        ("client: httpx.AsyncClient\n", "client: httpx.Client\n"),
        ("await self.aclose()  # await it\n", "self.close()  # await it\n"),
        ('text = "await AsyncClient"\n', 'text = "await AsyncClient"\n'),
        ("awaited = asynchronous\n", "awaited = asynchronous\n"),
    ],
)
def test_words_go_and_names_change_but_never_inside_strings_and_comments(
    asynchronous: str, expected: str
) -> None:
    assert blocking(asynchronous) == expected


def test_a_sentence_that_would_be_wrong_of_a_blocking_client_does_not_slip_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "async_client.py"
    source.write_text('"""The asyncio client, said in other words."""\n', "utf-8")
    monkeypatch.setattr(make_sync_client, "SOURCE", source)
    with pytest.raises(ValueError, match="should say once: The asyncio client"):
        sync_client()
