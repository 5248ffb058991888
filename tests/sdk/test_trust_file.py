"""The file with tokens and pinned keys."""

from __future__ import annotations

import os
import stat
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest

from compute_router.protocol.pairing import is_user_token
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.trust_file import TrustFile, TrustFileError, token_address

URL = "https://coordinator.example"
NET, OTHER_NET = "solana:x", "eip155:1"
A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "trust.json"


@pytest.fixture
def trust(path: Path) -> TrustFile:
    return TrustFile(path)


def test_nothing_is_known_and_nothing_made_before_there_is_something_to_keep(
    trust: TrustFile, path: Path
) -> None:
    assert (trust.pinned(NET, "alice"), trust.token(NET, "alice", URL)) == ((), None)
    assert not trust.unpin(NET, "alice", A)
    assert not path.parent.exists()


def test_keys_are_pinned_by_network_and_user(trust: TrustFile, path: Path) -> None:
    for network, user, key in (
        (NET, "alice", B),
        (NET, "alice", A),
        (NET, "bob", C),
        (OTHER_NET, "alice", C),
    ):
        trust.pin(network, user, key)
    again = TrustFile(path)
    assert again.pinned(NET, "alice") == (B, A)
    assert again.pinned(NET, "bob") == again.pinned(OTHER_NET, "alice") == (C,)
    assert again.pinned(OTHER_NET, "bob") == ()


def test_a_key_is_pinned_once_and_unpinned_for_good(trust: TrustFile) -> None:
    for key in (A, A.upper(), f" {A}\n", B):
        trust.pin(NET, "alice", key)
    assert trust.pinned(NET, "alice") == (A, B)
    assert trust.unpin(NET, "alice", A)
    assert not trust.unpin(NET, "alice", A)
    assert trust.pinned(NET, "alice") == (B,)


@pytest.mark.parametrize("text", ["", "a" * 63, "g" * 64, "a" * 65, "٣" * 64])
def test_what_is_no_key_cannot_be_pinned(trust: TrustFile, path: Path, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="64 hex digits"):
        trust.pin(NET, "alice", text)
    assert not path.exists()


def test_a_token_is_made_once_and_kept(trust: TrustFile, path: Path) -> None:
    token, new = trust.token_or_new(NET, "alice", URL)
    assert new
    assert is_user_token(token)
    assert TrustFile(path).token_or_new(NET, "alice", URL) == (token, False)
    assert trust.token_or_new(NET, "bob", URL)[0] != token
    assert trust.token_or_new(OTHER_NET, "alice", URL)[0] != token


@pytest.mark.parametrize(
    "other",
    [
        "https://other.example",
        "http://coordinator.example",
        "https://coordinator.example:444",
        "https://coordinator.example/solana",
        "https://coordinator.example.evil.example",
        "https://coordinator.example@evil.example",
    ],
)
def test_a_token_is_for_one_address(trust: TrustFile, other: str) -> None:
    token, _ = trust.token_or_new(NET, "alice", URL)
    assert trust.token(NET, "alice", other) is None
    assert trust.token_or_new(NET, "alice", other)[0] != token
    assert set(trust.token_addresses(NET, "alice")) == {URL, token_address(other)}


@pytest.mark.parametrize(
    "same",
    [
        "https://COORDINATOR.example/",
        "HTTPS://coordinator.example:443",
        "https://me:pass,word@coordinator.example",
    ],
)
def test_one_address_may_be_spelt_in_several_ways(trust: TrustFile, path: Path, same: str) -> None:
    token, _ = trust.token_or_new(NET, "alice", same)
    assert trust.token(NET, "alice", URL) == token
    assert "pass,word" not in path.read_text()


def test_a_token_of_the_coordinator_takes_the_place_of_ours(trust: TrustFile) -> None:
    ours, _ = trust.token_or_new(NET, "alice", URL)
    trust.keep_token(NET, "alice", URL, "crt_theirs")
    trust.drop_token(NET, "alice", URL, ours)
    assert trust.token(NET, "alice", URL) == "crt_theirs"
    trust.drop_token(NET, "alice", URL, "crt_theirs")
    assert trust.token(NET, "alice", URL) is None


def test_pins_outlive_a_token_that_is_dropped(trust: TrustFile) -> None:
    token, _ = trust.token_or_new(NET, "alice", URL)
    trust.pin(NET, "alice", A)
    trust.drop_token(NET, "alice", URL, token)
    assert trust.pinned(NET, "alice") == (A,)


def test_file_and_directory_are_for_their_owner_alone(trust: TrustFile, path: Path) -> None:
    before = os.umask(0)
    try:
        trust.pin(NET, "alice", A)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in path.parent.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_file_that_others_may_touch_is_refused_and_left_alone(
    trust: TrustFile, path: Path, mode: int
) -> None:
    trust.pin(NET, "alice", A)
    before = path.read_bytes()
    path.chmod(mode)
    for use in (
        lambda: trust.pinned(NET, "alice"),
        lambda: trust.token(NET, "alice", URL),
        lambda: trust.token_or_new(NET, "alice", URL),
        lambda: trust.pin(NET, "alice", B),
        lambda: trust.unpin(NET, "alice", A),
    ):
        with pytest.raises(TrustFileError, match=f"chmod 600 {path}"):
            use()
    assert path.read_bytes() == before


def test_a_file_of_another_user_of_the_machine_is_refused(
    trust: TrustFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.pin(NET, "alice", A)
    monkeypatch.setattr(os, "geteuid", lambda: 4_242_424)
    with pytest.raises(TrustFileError, match="belongs to another user"):
        trust.pinned(NET, "alice")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"version":2,"networks":{}}',
        b'{"version":1,"networks":{},"more":1}',
        b'{"version":1,"networks":{"n":{"u":{"pinned":["secret"]}}}}',
        b'{"version":1,"networks":{"n":{"u":{"token":5}}}}',
        b"\xff\xfe",
        b'{"version":1' * 3,
        b"[" * 100_000,
        b" " * (5 * 1024 * 1024),
    ],
)
def test_a_damaged_file_is_never_overwritten_and_never_quoted(
    trust: TrustFile, path: Path, text: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(TrustFileError, match="damaged") as refused:
        trust.pin(NET, "alice", A)
    assert "secret" not in str(refused.value)
    assert path.read_bytes() == text


def test_a_directory_or_a_pipe_in_its_place_is_refused_at_once(trust: TrustFile, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(TrustFileError, match=r"cannot be used|not a file"):
        trust.pinned(NET, "alice")
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(TrustFileError, match="not a file"):
        trust.pinned(NET, "alice")


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustFileError, match="--trust-file"):
        TrustFile(tmp_path / "file" / "trust.json").pin(NET, "alice", A)


def test_a_write_that_fails_leaves_the_file_as_it_was(
    trust: TrustFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.pin(NET, "alice", A)
    with monkeypatch.context() as patched:

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(os, "fsync", full)
        with pytest.raises(TrustFileError, match="No space left"):
            trust.pin(NET, "alice", B)
    assert trust.pinned(NET, "alice") == (A,)
    assert {file.name for file in path.parent.iterdir()} == {"trust.json", "trust.json.lock"}


def test_a_link_stays_a_link(trust: TrustFile, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real.json")
    trust.pin(NET, "alice", A)
    trust.pin(NET, "alice", B)
    assert path.is_symlink()
    assert TrustFile(tmp_path / "real.json").pinned(NET, "alice") == (A, B)


def pin_many(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        TrustFile(path).pin(NET, "alice", f"{number:064x}")
        TrustFile(path).token_or_new(NET, "alice", URL)


def test_threads_that_write_at_once_lose_nothing(path: Path) -> None:
    threads = [threading.Thread(target=pin_many, args=(path, first)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(TrustFile(path).pinned(NET, "alice")) == 30


def test_processes_that_write_at_once_lose_nothing_and_agree_on_one_token(path: Path) -> None:
    spawn = get_context("spawn")
    processes = [spawn.Process(target=pin_many, args=(path, first)) for first in (0, 100)]
    for process in processes:
        process.start()
    pin_many(path, 200)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(TrustFile(path).pinned(NET, "alice")) == 30


def test_tokens_are_in_no_repr(trust: TrustFile) -> None:
    token, _ = trust.token_or_new(NET, "alice", URL)
    assert token not in repr(trust) + str(vars(trust))
