"""The play token's compiled code is of the source beside it."""

from __future__ import annotations

import json

from tools.local_chains.compile_token import TOKEN, source_digest


def test_the_code_was_compiled_from_this_source() -> None:
    compiled = json.loads((TOKEN / "usdc.json").read_text("utf-8"))

    assert compiled["source"] == source_digest(), "run: python -m tools.local_chains.compile_token"
