"""Sealed payloads and results: who can open them, and that nothing about them can be exchanged."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from compute_router.protocol.errors import SealedUnreadableError, UnusableKeyError
from compute_router.protocol.jobs import JobType, LlmInferPayload, TaskPayload
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.sealing import (
    MAX_RECIPIENTS,
    SealBinding,
    SealedPayload,
    decode_any_payload,
    find_sealed,
    is_sealed_result,
    open_payload,
    open_result,
    reply_key,
    seal_payload,
    seal_result,
)

WORKERS = [SigningKey(bytes([number]) * 32) for number in range(1, 4)]
PUBKEYS = [public_key_hex(worker) for worker in WORKERS]
STRANGER = SigningKey(b"s" * 32)
REPLY_SECRET = PrivateKey(b"r" * 32)
REPLY_TO = REPLY_SECRET.public_key.encode().hex()
PROMPT = "the secret prompt"
PLAIN = msgspec.json.encode({"prompt": PROMPT, "max_tokens": 77})
BINDING = SealBinding("solana:devnet", JobType.LLM_INFER, "alice", "llama")
OUTPUT = b'{"text":"the secret answer","model":"m"}'
# The neutral element, points of order 2, 4 and 8, and one that is not on the curve at all.
BAD_ED25519 = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "0200000000000000000000000000000000000000000000000000000000000000",
]
# Keys of low order: whatever the other side's key is, the shared secret is zero.
BAD_X25519 = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]

texts = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
bindings = st.builds(
    SealBinding,
    network=st.sampled_from(["solana:devnet", "eip155:10143"]),
    job_type=st.sampled_from(JobType),
    user_id=texts,
    model=st.none() | texts,
)


def sealed_bytes(recipients: list[str] = PUBKEYS[:1], binding: SealBinding = BINDING) -> bytes:
    return seal_payload(PLAIN, binding, recipients, REPLY_TO)


def decoded(payload: bytes, job_type: JobType = JobType.LLM_INFER) -> SealedPayload:
    found = find_sealed(job_type, payload)
    assert found is not None
    return found


def opens(payload: bytes, worker: SigningKey = WORKERS[0], binding: SealBinding = BINDING) -> bytes:
    return open_payload(decoded(payload, binding.job_type), binding, worker)


def never_opens(payload: bytes) -> None:
    try:
        found = find_sealed(JobType.LLM_INFER, payload)
    except SealedUnreadableError:
        return
    if found is not None:
        with pytest.raises(SealedUnreadableError):
            open_payload(found, BINDING, WORKERS[0])


def plain_for(job_type: JobType, text: str, max_tokens: int | None) -> bytes:
    if job_type is JobType.TASK:
        return msgspec.json.encode({"task_type": "classify", "input": text})
    return msgspec.json.encode(LlmInferPayload(text, max_tokens))


# Opening


@given(bindings, texts, st.none() | st.integers(1, 1_000_000), st.integers(1, 3))
def test_every_recipient_and_nobody_else_reads_what_was_sealed(
    binding: SealBinding, text: str, max_tokens: int | None, recipients: int
) -> None:
    plain = plain_for(binding.job_type, text, max_tokens)
    payload = seal_payload(plain, binding, PUBKEYS[:recipients], REPLY_TO)
    for worker in WORKERS[:recipients]:
        assert opens(payload, worker, binding) == plain
    for worker in [STRANGER, *WORKERS[recipients:]]:
        with pytest.raises(SealedUnreadableError):
            opens(payload, worker, binding)


def test_a_sealed_payload_shows_the_recipients_the_reply_key_and_the_limit_and_not_the_prompt() -> None:
    payload = sealed_bytes(PUBKEYS)
    found = decoded(payload)
    assert found.recipients == tuple(sorted(PUBKEYS))
    assert (found.reply_to, found.max_tokens) == (REPLY_TO, 77)
    assert PROMPT.encode() not in payload
    assert base64.b64encode(PROMPT.encode())[:-4] not in payload


def test_the_same_payload_sealed_twice_has_nothing_in_common() -> None:
    one, two = decoded(sealed_bytes()), decoded(sealed_bytes())
    assert one.ciphertext != two.ciphertext
    assert one.keys[PUBKEYS[0]] != two.keys[PUBKEYS[0]]


@given(st.binary(max_size=200))
def test_only_the_reply_key_opens_a_result(output: bytes) -> None:
    sealed = seal_result(output, REPLY_TO)
    assert is_sealed_result(sealed)
    assert open_result(sealed, REPLY_SECRET) == output
    with pytest.raises(SealedUnreadableError):
        open_result(sealed, PrivateKey(b"q" * 32))


# Tampering


@given(st.data())
def test_any_single_changed_byte_keeps_a_payload_from_opening(data: st.DataObject) -> None:
    payload = bytearray(sealed_bytes())
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != payload[at]))
    never_opens(bytes(payload))


@given(st.data())
def test_any_single_changed_byte_keeps_a_result_from_opening(data: st.DataObject) -> None:
    sealed = bytearray(seal_result(OUTPUT, REPLY_TO))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != sealed[at]))
    with pytest.raises(SealedUnreadableError):
        open_result(bytes(sealed), REPLY_SECRET)


def with_another_reply_key(payload: dict[str, Any]) -> None:
    payload["reply_to"] = PrivateKey(b"q" * 32).public_key.encode().hex()


def without_one_recipient(payload: dict[str, Any]) -> None:
    del payload["keys"][PUBKEYS[1]]


def with_one_recipient_more(payload: dict[str, Any]) -> None:
    payload["keys"][public_key_hex(STRANGER)] = payload["keys"][PUBKEYS[1]]


def with_one_recipient_renamed(payload: dict[str, Any]) -> None:
    payload["keys"][public_key_hex(STRANGER)] = payload["keys"].pop(PUBKEYS[1])


def with_the_keys_of_two_recipients_swapped(payload: dict[str, Any]) -> None:
    keys = payload["keys"]
    keys[PUBKEYS[0]], keys[PUBKEYS[1]] = keys[PUBKEYS[1]], keys[PUBKEYS[0]]


def with_the_keys_of_another_payload(payload: dict[str, Any]) -> None:
    payload["keys"] = json.loads(sealed_bytes(PUBKEYS[:2]))["keys"]


def with_the_ciphertext_of_another_payload(payload: dict[str, Any]) -> None:
    payload["ciphertext"] = json.loads(sealed_bytes(PUBKEYS[:2]))["ciphertext"]


def with_another_limit(payload: dict[str, Any]) -> None:
    payload["max_tokens"] = 1


def without_the_limit(payload: dict[str, Any]) -> None:
    del payload["max_tokens"]


def with_a_key_that_is_not_canonical_base64(payload: dict[str, Any]) -> None:
    text = payload["keys"][PUBKEYS[0]]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(text[-2]) + 1]
    assert base64.b64decode(text[:-2] + last + "=") == base64.b64decode(text)
    payload["keys"][PUBKEYS[0]] = text[:-2] + last + "="


@pytest.mark.parametrize(
    "change",
    [
        with_another_reply_key,
        without_one_recipient,
        with_one_recipient_more,
        with_one_recipient_renamed,
        with_the_keys_of_two_recipients_swapped,
        with_the_keys_of_another_payload,
        with_the_ciphertext_of_another_payload,
        with_another_limit,
        without_the_limit,
        with_a_key_that_is_not_canonical_base64,
    ],
)
def test_no_part_of_a_payload_can_be_exchanged(change: Callable[[dict[str, Any]], None]) -> None:
    payload = json.loads(sealed_bytes(PUBKEYS[:2]))
    assert opens(json.dumps(payload).encode()) == PLAIN
    change(payload)
    with pytest.raises(SealedUnreadableError):
        opens(json.dumps(payload).encode())


@pytest.mark.parametrize(
    "other",
    [
        SealBinding("eip155:10143", JobType.LLM_INFER, "alice", "llama"),
        SealBinding("solana:devnet", JobType.LLM_INFER, "mallory", "llama"),
        SealBinding("solana:devnet", JobType.LLM_INFER, "alice", "other"),
        SealBinding("solana:devnet", JobType.LLM_INFER, "alice", None),
        SealBinding("solana:devnet", JobType.LLM_INFER, "alice\nllama", None),
        SealBinding("solana:devnet\nLLM_INFER", JobType.LLM_INFER, "alice", "llama"),
    ],
)
def test_a_payload_cannot_be_passed_off_as_that_of_another_job(other: SealBinding) -> None:
    with pytest.raises(SealedUnreadableError):
        opens(sealed_bytes(), binding=other)


def test_a_payload_cannot_be_passed_off_as_one_of_another_job_type() -> None:
    binding = SealBinding("solana:devnet", JobType.TASK, "alice", None)
    payload = seal_payload(b'{"task_type":"classify","input":"x"}', binding, PUBKEYS, REPLY_TO)
    other = msgspec.structs.replace(binding, job_type=JobType.LLM_INFER)
    with pytest.raises(SealedUnreadableError):
        open_payload(decoded(payload), other, WORKERS[0])


@given(bindings, bindings)
def test_a_payload_opens_only_under_the_binding_that_it_was_sealed_under(
    sealed_for: SealBinding, opened_for: SealBinding
) -> None:
    assume(sealed_for != opened_for)
    payload = seal_payload(plain_for(sealed_for.job_type, "x", None), sealed_for, PUBKEYS, REPLY_TO)
    with pytest.raises(SealedUnreadableError):
        open_payload(decoded(payload), opened_for, WORKERS[0])


# Keys


@pytest.mark.parametrize("pubkey", [*BAD_ED25519, "", "ab", "zz" * 32, PUBKEYS[0].upper(), PUBKEYS[0] + "00"])
def test_nothing_is_sealed_to_what_is_no_safe_worker_key(pubkey: str) -> None:
    with pytest.raises(UnusableKeyError):
        seal_payload(PLAIN, BINDING, [PUBKEYS[1], pubkey], REPLY_TO)


@pytest.mark.parametrize("key", [*BAD_X25519, "", "ab", "zz" * 32, REPLY_TO.upper()])
def test_no_result_is_asked_for_or_sealed_under_a_key_that_anybody_could_open(key: str) -> None:
    with pytest.raises(UnusableKeyError):
        reply_key(key)
    with pytest.raises(UnusableKeyError):
        seal_payload(PLAIN, BINDING, PUBKEYS, key)
    with pytest.raises(UnusableKeyError):
        seal_result(OUTPUT, key)


@pytest.mark.parametrize("key", BAD_X25519)
def test_a_payload_that_wants_its_result_readable_by_anybody_is_not_opened(key: str) -> None:
    payload = json.loads(sealed_bytes())
    payload["reply_to"] = key
    with pytest.raises(SealedUnreadableError):
        opens(json.dumps(payload).encode())


@pytest.mark.parametrize("count", [0, MAX_RECIPIENTS + 1])
def test_the_number_of_recipients_is_bounded(count: int) -> None:
    recipients = [public_key_hex(SigningKey(number.to_bytes(32, "big"))) for number in range(count)]
    with pytest.raises(UnusableKeyError):
        seal_payload(PLAIN, BINDING, recipients, REPLY_TO)


def test_a_payload_for_as_many_recipients_as_there_may_be_is_read_by_the_last_of_them() -> None:
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(MAX_RECIPIENTS)]
    payload = seal_payload(PLAIN, BINDING, [public_key_hex(key) for key in keys], REPLY_TO)
    assert opens(payload, keys[-1]) == PLAIN


# Form


@pytest.mark.parametrize(
    ("job_type", "payload", "kind"),
    [
        (JobType.LLM_INFER, PLAIN, LlmInferPayload),
        (JobType.TASK, b'{"task_type":"classify","input":"x"}', TaskPayload),
        (JobType.LLM_INFER, sealed_bytes(), SealedPayload),
    ],
)
def test_a_commit_may_carry_plain_and_sealed_payloads(job_type: JobType, payload: bytes, kind: type) -> None:
    assert isinstance(decode_any_payload(job_type, payload), kind)


def broken(**changes: Any) -> bytes:
    payload: dict[str, Any] = json.loads(sealed_bytes())
    payload |= changes
    return json.dumps({name: value for name, value in payload.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        broken(sealed="v2"),
        broken(sealed=True),
        broken(prompt="also in the clear"),
        broken(ciphertext=None),
        broken(ciphertext=""),
        broken(ciphertext="not base64!"),
        broken(keys=None),
        broken(keys={}),
        broken(keys={"": "A" * 107 + "="}),
        broken(keys={PUBKEYS[0]: "A"}),
        broken(keys={PUBKEYS[0].upper(): "A" * 107 + "="}),
        broken(keys={f"{number:064x}": "A" * 107 + "=" for number in range(MAX_RECIPIENTS + 1)}),
        broken(reply_to=None),
        broken(reply_to="ab"),
        broken(max_tokens=0),
        broken(max_tokens="77"),
        broken(max_tokens=1_000_001),
        b'{"sealed":"v1"}',
        b'{"sealed":null}',
    ],
)
def test_what_says_that_it_is_sealed_must_have_the_form(payload: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_any_payload(JobType.LLM_INFER, payload)
    with pytest.raises(SealedUnreadableError):
        find_sealed(JobType.LLM_INFER, payload)


def test_a_task_has_no_limit_of_tokens_to_show() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_any_payload(JobType.TASK, sealed_bytes())
    with pytest.raises(SealedUnreadableError):
        find_sealed(JobType.TASK, sealed_bytes())


@pytest.mark.parametrize("payload", [b"", b"{", b"null", b"[]", b'"sealed"', b"\xff", PLAIN, b"[" * 100_000])
def test_what_does_not_say_that_it_is_sealed_is_taken_for_plain(payload: bytes) -> None:
    assert find_sealed(JobType.LLM_INFER, payload) is None


@pytest.mark.parametrize(
    "output", [b"", b"null", b"{", b"\xff", OUTPUT, b'{"sealed":"v1"}', b'{"sealed":"v1","ciphertext":7}']
)
def test_other_outputs_are_not_taken_for_sealed(output: bytes) -> None:
    assert not is_sealed_result(output)
    with pytest.raises(SealedUnreadableError):
        open_result(output, REPLY_SECRET)


@given(st.binary(max_size=400))
def test_no_bytes_do_worse_than_not_to_open(garbage: bytes) -> None:
    with pytest.raises(SealedUnreadableError):
        open_result(garbage, REPLY_SECRET)
    assert find_sealed(JobType.LLM_INFER, garbage) is None
