"""Hypothesis strategies for everything that msgspec Structs of the protocol can hold."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as shape

CHARACTERS = st.characters(codec="utf-8")
TEXT = st.text(CHARACTERS, max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def raw_json(*, null: bool = True) -> st.SearchStrategy[msgspec.Raw]:
    """JSON texts; without ``null`` where the protocol reads a null as an absent value."""
    values = json_values if null else json_values.filter(lambda value: value is not None)
    return values.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Every value that the Struct's types and limits allow, optional fields absent or present."""
    info = shape.type_info(kind)
    assert isinstance(info, shape.StructType)
    required = {field.name: _field(field.type, null=True) for field in info.fields if field.required}
    optional = {field.name: _field(field.type, null=False) for field in info.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: kind(**values))


def _field(kind: shape.Type, *, null: bool) -> st.SearchStrategy[Any]:
    match kind:
        case shape.RawType():
            return raw_json(null=null)
        case shape.UnionType(types=members):
            return st.one_of([_field(member, null=null) for member in members])
        case shape.NoneType():
            return st.none()
        case shape.BoolType():
            return st.booleans()
        case shape.IntType(ge=low, le=high):
            # What every JSON implementation keeps exactly.
            return st.integers(-(2**53) if low is None else low, 2**53 if high is None else high)
        case shape.FloatType(gt=above, ge=low, le=high):
            least = low if above is None else above
            return st.floats(
                least, high, allow_nan=False, allow_infinity=False, exclude_min=above is not None
            )
        case shape.StrType(pattern=str(pattern), min_length=low, max_length=high):
            texts = st.from_regex(pattern, alphabet=CHARACTERS)
            return texts.filter(lambda text: (low or 0) <= len(text) <= (high or len(text)))
        case shape.StrType(min_length=low, max_length=high):
            return st.text(CHARACTERS, min_size=low or 0, max_size=min(high or 20, 20))
        case shape.EnumType(cls=members) | shape.CustomType(cls=members):
            return st.sampled_from(members)
        case shape.LiteralType(values=values):
            return st.sampled_from(values)
        case shape.ListType(item_type=item, min_length=low):
            return st.lists(_field(item, null=null), min_size=low or 0, max_size=3)
        case shape.DictType(key_type=key, value_type=value):
            return st.dictionaries(_field(key, null=null), _field(value, null=null), max_size=3)
        case shape.StructType(cls=cls):
            return structs(cls)
    raise TypeError(f"no strategy for {kind}")
