"""What attackers send: from noise to requests and frames that are nearly right."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from tests.transport.harness import LLM, TASK
from tests.transport.raw_http import request

KEY: Final = "a" * 64

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "PUBLIC", "PRIVATE", "TASK", KEY, "A" * 64, "\u0000", "\ud800", "x" * 3_000, [], {}]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def mangled_objects(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """A valid object with fields left out, replaced, or added, here and in the objects within."""
    result: dict[str, Any] = {}
    for name, value in valid.items():
        match draw(st.integers(0, 7)):
            case 0:
                continue
            case 1 | 2:
                result[name] = draw(json_values)
            case 3 if isinstance(value, dict):
                result[name] = draw(mangled_objects(value))
            case 4:
                result[draw(st.text(max_size=12))] = value
            case _:
                result[name] = value
    if draw(st.booleans()):
        result[draw(st.text(max_size=12))] = draw(json_values)
    return result


@st.composite
def mangled_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some cut out, doubled, overwritten or put in between."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(at + draw(st.integers(0, 12)), len(data))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:until]
            case 1:
                data[at:at] = data[at:until]
            case 2:
                data[at:until] = draw(st.binary(max_size=6))
            case _:
                del data[at:]
    return bytes(data)


def as_json(value: Any) -> bytes:
    """JSON text, also of what no JSON can say: NaN, infinities, lone surrogates."""
    return json.dumps(value).encode()


_BODIES: Final[list[dict[str, Any]]] = [
    TASK,
    LLM,
    TASK | {"privacy_class": "PRIVATE", "ttl_s": 5, "deadline_s": 5},
    LLM | {"model": "llama"},
    {"user_id": "alice"},
    {"pairing_code": "ABCDEFGHJK00", "provider_pubkey": KEY},
    {"pairing_code": "ABCDEFGHJK00", "provider_pubkey": KEY, "signature": "c2ln"},
    {"scope": "admin", "name": "x"},
]

bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    json_values.map(as_json),
    st.sampled_from(_BODIES).flatmap(mangled_objects).map(as_json),
    st.sampled_from(_BODIES).map(as_json).flatmap(mangled_bytes),
)

methods = st.sampled_from(
    ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "get", "X", ""]
)

_segments = st.one_of(
    st.sampled_from(
        [
            *("v1", "jobs", "commit", "fast", "cheap", "events", "trust", "create", "claim", "list", "keys"),
            *("..", ".", "", "*", "%2e%2e", "%00", "%ff", "%", "a" * 300, KEY),
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=10),
)
_queries = st.one_of(
    st.just(""),
    st.sampled_from(
        [
            *("wait=1e-9", "wait=nan", "wait=-1", "wait=61", "user_id=a", "user_id=a&user_id=b", "limit=0"),
            *("limit=1&cursor=x", "&", "=", "%", "a" * 500, "a=1&" * 50, "user_id=%ff", "user_id=%00"),
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=20),
)
_PATHS: Final = [
    "/", "/v1/health", "/v1/quote", "/v1/jobs/commit/fast", "/v1/jobs/commit/cheap", "/v1/jobs/x",
    "/v1/jobs/x/events", "/v1/trust/create", "/v1/trust/claim", "/v1/trust/list", f"/v1/trust/{KEY}",
    "/v1/receipts/x", "/v1/workers", f"/v1/workers/{KEY}", "/v1/keys", "/v1/keys/x",
    "/.well-known/compute-router",
]  # fmt: skip
paths = st.one_of(
    st.sampled_from(_PATHS),
    st.sampled_from(_PATHS).map(str.encode).flatmap(mangled_bytes).map(lambda path: path.decode("latin-1")),
    st.lists(_segments, max_size=6).map(lambda parts: "/" + "/".join(parts)),
)
targets = st.builds(lambda path, query: f"{path}?{query}" if query else path, paths, _queries)

# Names that do not change where the request ends: that is left to the noise.
_header_names = st.sampled_from(
    [
        *("Content-Type", "Authorization", "Idempotency-Key", "Origin", "Accept", "Cookie", "Upgrade"),
        *("Connection", "Host", "Range"),
        *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "X-Forwarded-For", "X-" + "y" * 200),
    ]
)
_header_values = st.one_of(
    st.sampled_from(
        [
            *("application/json", "text/plain", "Bearer x", "Bearer crk_x_y", "Bearer crt_" + "A" * 43),
            *("websocket", "Upgrade", "13", "null", "https://evil.example", "*", "", "x" * 300, "bytes=0-1"),
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method, and a request whose end is where it says."""
    method = draw(methods)
    headers = draw(st.dictionaries(_header_names, _header_values, max_size=4))
    head = request(method, draw(targets), draw(bodies), **headers)
    return method, head


_VALID_REQUESTS: Final = [
    request("POST", "/v1/jobs/commit/cheap", as_json(TASK), Content_Type="application/json"),
    request("GET", "/v1/quote?job_type=TASK", Host="x"),
    b"POST /v1/jobs/commit/fast HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    request(
        *("GET", "/"),
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
    ),
]
noise = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.sampled_from(_VALID_REQUESTS).flatmap(mangled_bytes),
    st.lists(st.sampled_from(_VALID_REQUESTS).flatmap(mangled_bytes), min_size=2, max_size=3).map(b"".join),
)


def frames_about(job_id: str, attempt: int, pubkey: str) -> list[dict[str, Any]]:
    """A right frame of each type, about somebody else's job."""
    named = {"job_id": job_id, "attempt": attempt}
    receipt = {
        "job_id": job_id,
        "provider_pubkey": pubkey,
        "output_hash": "0" * 64,
        "completed_at": "2026-02-09T12:00:05.000Z",
        "payment_ref": None,
    }
    proof = {"receipt": receipt, "receipt_signature": "c2ln"}
    return [
        {"type": "register", "provider_pubkey": pubkey, "provider_type": "DESKTOP", "capabilities": ["TASK"]}
        | {"slots": 1, "models": [{"name": "m"}], "active_jobs": [named], "features": ["sealed/v1"]}
        | {"nonce": "n", "signature": "c2ln", "instance": "i", "agent": "a"},
        {"type": "heartbeat", "provider_pubkey": pubkey, "jobs": [named]}
        | {"metrics": {"cpu_pct": 1.0, "mem_pct": 1.0, "active_jobs": 0}},
        {"type": "job_complete", "output": {"text": "x"}, "output_hash": "0" * 64} | named | proof,
        {"type": "job_reject", "reason": "busy"} | named,
        {"type": "job_started"} | named,
        {"type": "job_chunk", "seq": 0, "delta": "x"} | named,
        {"type": "job_failed", "code": "c", "message": "m", "retryable": True} | named,
        {"type": "receipt_submit", "receipt": receipt, "signature": "c2ln"},
        {"type": "drain"},
    ]


def frames(valid: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Frames that are nearly right, or not at all."""
    return st.one_of(
        st.sampled_from(valid).flatmap(mangled_objects).map(as_json),
        st.sampled_from(valid).map(as_json),
        st.sampled_from(valid).map(as_json).flatmap(mangled_bytes),
        json_values.map(as_json),
        st.binary(max_size=60),
    )
