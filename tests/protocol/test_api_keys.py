from __future__ import annotations

import hashlib
import re

import msgspec
import pytest

from compute_router.protocol.api_keys import (
    KeyRequest,
    KeyScope,
    NewKeyAnswer,
    hash_api_key,
    key_id_of,
    new_api_key,
)

KEY = "crk_abcdef123456_" + "Az09-_" * 7 + "x"


def test_a_new_key_has_a_name_and_a_secret_that_nobody_can_guess() -> None:
    keys = {new_api_key() for _ in range(200)}
    assert len({key[-43:] for key in keys}) == len({key_id_of(key) for key in keys}) == 200
    assert all(re.fullmatch(r"crk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_a_key_names_itself() -> None:
    assert key_id_of(KEY) == "abcdef123456"


@pytest.mark.parametrize(
    "text",
    ["", "crk_", KEY[:-1], KEY + "A", KEY + "\n", " " + KEY, KEY.upper(), KEY.replace("crk", "crt"), "x" * 60]
    + [KEY.replace("abc", bad) for bad in ("ab-", "ab_", "abC", "ab\u0663")],
)
def test_what_has_another_form_is_no_key(text: str) -> None:
    assert key_id_of(text) is None


def test_what_is_kept_is_the_hash_of_the_whole_key() -> None:
    assert hash_api_key(KEY) == hashlib.sha256(KEY.encode()).hexdigest()


def test_the_key_is_in_the_answer_and_not_in_its_text() -> None:
    answer = NewKeyAnswer("abcdef123456", "n", KeyScope.USER, "alice", None, None, None, "t", None, key=KEY)
    assert KEY.encode() in msgspec.json.encode(answer)
    assert KEY not in repr(answer)
    assert KEY not in str(answer)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"scope": "user"}, "A user key needs a user_id"),
        ({"scope": "admin", "user_id": "alice"}, "An admin key has no user_id"),
        ({"scope": "admin", "jobs_at_once": 1}, "An admin key has no limits"),
    ],
)
def test_a_request_that_contradicts_its_scope_says_how(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert(fields, KeyRequest)
