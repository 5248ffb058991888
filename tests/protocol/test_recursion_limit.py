from __future__ import annotations

import sys

import pytest

from compute_router.protocol.recursion_limit import kept_recursion_limit


def test_what_is_imported_in_between_changes_no_limit() -> None:
    before = sys.getrecursionlimit()
    with kept_recursion_limit():
        sys.setrecursionlimit(before + 1000)
    assert sys.getrecursionlimit() == before


def test_an_import_that_fails_changes_none_either() -> None:
    before = sys.getrecursionlimit()

    def raise_it_and_fail() -> None:
        sys.setrecursionlimit(before + 1000)
        raise ImportError

    with pytest.raises(ImportError), kept_recursion_limit():
        raise_it_and_fail()
    assert sys.getrecursionlimit() == before
