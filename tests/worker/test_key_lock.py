"""One worker process for each key."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_file import load_or_create_key
from compute_router.worker.key_lock import KeyLock


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "worker.key"
    load_or_create_key(path)
    return path


def test_a_key_that_is_held_is_refused_with_the_way_out(key: Path) -> None:
    with KeyLock(key), pytest.raises(ConfigurationError) as refused:
        KeyLock(key)
    assert str(refused.value) == (
        f"Another worker on this machine uses {key}; give this one a key of its own with --key PATH."
    )


def test_a_refusal_leaves_the_holder_undisturbed(key: Path) -> None:
    with KeyLock(key):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="Another worker"):
                KeyLock(key)


def test_a_released_key_can_be_held_again(key: Path) -> None:
    lock = KeyLock(key)
    lock.release()
    lock.release()
    with KeyLock(key):
        pass


def test_a_link_does_not_get_around_the_lock(key: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(key)
    with KeyLock(key), pytest.raises(ConfigurationError, match=r"link\.key"):
        KeyLock(link)


def test_two_keys_in_one_directory_do_not_hinder_each_other(key: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    load_or_create_key(other)
    with KeyLock(key), KeyLock(other):
        pass


def test_a_held_key_can_be_read_and_nothing_is_left_beside_it(key: Path) -> None:
    with KeyLock(key):
        load_or_create_key(key)
        assert list(key.parent.iterdir()) == [key]


def test_a_key_that_nobody_may_write_is_held_like_any_other(key: Path) -> None:
    key.chmod(0o400)
    with KeyLock(key), pytest.raises(ConfigurationError, match="Another worker"):
        KeyLock(key)


def test_a_key_that_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be locked: No such file"):
        KeyLock(tmp_path / "none.key")
