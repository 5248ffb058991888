"""Complaints about somebody's JSON say what and where, and repeat none of it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.transport.complaints import complaint


class Kind(Enum):
    ONE = "one"


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    kind: Kind


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner
    size: int = 0
    word: Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+\Z")] = "a"


def about(body: object) -> str:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(msgspec.json.encode(body), type=Outer)
    return complaint(error.value)


def test_a_misspelt_name_is_repeated() -> None:
    assert about({"inner": {"kindd": "one"}}) == "Object contains unknown field `kindd` - at `$.inner`."


def test_a_wrong_type_is_named_with_its_place() -> None:
    assert about({"inner": {"kind": "one"}, "size": "large"}) == "Expected `int`, got `str` - at `$.size`."


def test_a_wrong_choice_is_not_repeated() -> None:
    assert about({"inner": {"kind": "a secret"}}) == "Invalid enum value - at `$.inner.kind`."


def test_a_wrong_form_is_told_without_a_regular_expression() -> None:
    assert about({"inner": {"kind": "one"}, "word": "A"}) == "Expected text of another form - at `$.word`."


@pytest.mark.parametrize("name", ["my secret", "x" * 33, "", "\n", "naïve"])
def test_what_is_no_name_is_not_repeated(name: str) -> None:
    assert about({name: 1}) == "Object contains an unknown field."
    assert about({"inner": {name: 1}}) == "Object contains an unknown field - at `$.inner`."


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(text=ANY_TEXT.map(lambda text: f"0{text}\u2021end"))
def test_nothing_that_is_no_name_is_ever_repeated(text: str) -> None:
    for body in ({text: 1}, {"inner": {text: 1}}, {"inner": {"kind": text}}, {"inner": {"kind": [text]}}):
        assert "\u2021" not in about(body)
