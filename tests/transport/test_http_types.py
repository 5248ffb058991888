"""Requests as the resources read them."""

from __future__ import annotations

import msgspec
import pytest
from tornado.httputil import HTTPHeaders

from compute_router.protocol.errors import MalformedJsonError, RequestError, UnsupportedMediaTypeError
from compute_router.transport.http_types import Request, decode_json, json_answer


def get(target: str) -> Request:
    return Request("GET", target, HTTPHeaders())


def test_path_and_query_are_split_at_the_first_question_mark() -> None:
    request = get("/a?b=c?d")
    assert (request.path, request.query("b")) == ("/a", "c?d")


def test_a_query_value_is_decoded() -> None:
    assert get("/?a=x+y%20z%C3%BC&b=").query("a") == "x y zü"


def test_a_missing_value_is_none_and_an_empty_one_is_empty() -> None:
    assert get("/").query("a") is None
    assert get("/?b=1").query("a") is None
    assert get("/?a=").query("a") == ""


@pytest.mark.parametrize("query", ["a=1&a=2", "a", "a=%ff", "&".join("b=1" for _ in range(33))])
def test_an_unreadable_or_ambiguous_query_is_refused(query: str) -> None:
    with pytest.raises(RequestError):
        get(f"/?{query}").query("a")


@pytest.mark.parametrize("query", ["", "a=", "b=1"])
def test_a_required_value_must_be_there(query: str) -> None:
    with pytest.raises(RequestError, match="a is missing"):
        get(f"/?{query}").required_query("a")


def post(body: bytes, media_type: str | None) -> Request:
    headers = HTTPHeaders() if media_type is None else HTTPHeaders({"Content-Type": media_type})
    request = Request("POST", "/", headers)
    request.body = body
    return request


@pytest.mark.parametrize("media_type", [None, "application/json", "APPLICATION/JSON ; charset=utf-8"])
def test_json_is_read_when_it_is_declared_or_nothing_is(media_type: str | None) -> None:
    assert post(b'{"a":1}', media_type).json(msgspec.json.decode) == {"a": 1}


@pytest.mark.parametrize("media_type", ["", "text/json", "application/json-seq", "*/*"])
def test_another_media_type_is_refused_before_the_body_is_read(media_type: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        post(b"{", media_type).json(msgspec.json.decode)


def test_what_is_wrong_is_named_with_its_place_and_not_quoted_at_length() -> None:
    with pytest.raises(RequestError, match=r"^payload: Expected `int`, got `str` - at `\$\[0\]`\.$"):
        decode_json(b'["x"]', msgspec.json.Decoder(list[int]).decode, "payload: ")
    choices = msgspec.json.Decoder(msgspec.defstruct("S", [("a", int)], forbid_unknown_fields=True))
    with pytest.raises(RequestError) as raised:
        decode_json(b'{"%s":1}' % (b"x" * 10_000), choices.decode)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\xed\xa0\x80"', b"[" * 100_000])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        decode_json(body, msgspec.json.decode)


def test_an_answer_is_compact_json() -> None:
    answer = json_answer({"a": [1, "ü"]}, 201)
    assert (answer.status, answer.body, answer.headers) == (201, '{"a":[1,"ü"]}'.encode(), ())
