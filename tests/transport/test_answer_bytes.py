from __future__ import annotations

import pytest

from compute_router.transport.answer_bytes import answer_bytes
from compute_router.transport.http_types import Answer


def test_an_answer_is_a_status_line_headers_and_the_body() -> None:
    answer = Answer(201, b'{"job_id":"j"}', (("Idempotency-Key", "k"),))
    assert answer_bytes(answer, (("Vary", "Origin"),)) == (
        b"HTTP/1.1 201 Created\r\n"
        b"Content-Type: application/json; charset=utf-8\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Cache-Control: no-store\r\n"
        b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
        b"Referrer-Policy: no-referrer\r\n"
        b"Cross-Origin-Resource-Policy: same-origin\r\n"
        b"Idempotency-Key: k\r\n"
        b"Vary: Origin\r\n"
        b"Content-Length: 14\r\n"
        b"\r\n"
        b'{"job_id":"j"}'
    )


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\x00b"])
def test_a_header_cannot_bring_in_another(value: str) -> None:
    with pytest.raises(ValueError, match="X-Name cannot be sent"):
        answer_bytes(Answer(200, b"{}", (("X-Name", value),)))
