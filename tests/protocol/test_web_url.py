from __future__ import annotations

import pytest

from compute_router.protocol.web_url import is_web_url


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:4010",
        "https://node.example/v2/key?a=b#c",
        "http://[::1]:1",
        "HTTP://me:word@host:65535",
    ],
)
def test_what_can_be_asked_is_a_web_url(text: str) -> None:
    assert is_web_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "ftp://host",
        "http://",
        "http://:80",
        "http://[",
        "http://[::1",
        "http://[nonsense]/",
        "http://host:99999",
        "http://host:-1",
        "http://host:0",
        "http://host:port",
        "http://ho st",
        "http://höst",
        "http://host/\n",
        "http://host\t",
    ],
)
def test_what_cannot_be_asked_is_none(text: str) -> None:
    assert not is_web_url(text)
