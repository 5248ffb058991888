"""The key file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_file import load_or_create_key

SEED = "11" * 32


def key_file(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_first_run_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "worker.key"
    key = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == key.encode().hex() + "\n"
    assert os.listdir(path.parent) == ["worker.key"]


def test_later_runs_use_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "worker.key"
    assert load_or_create_key(path) == load_or_create_key(path)


def test_two_first_runs_make_different_keys(tmp_path: Path) -> None:
    assert load_or_create_key(tmp_path / "a") != load_or_create_key(tmp_path / "b")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path / "worker.key", SEED + "\n", mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_or_create_key(path)


@pytest.mark.parametrize("content", ["", "11", SEED + "11", "zz" * 32, SEED + "\n\n", " " + SEED])
def test_a_damaged_key_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = key_file(tmp_path / "worker.key", content)
    with pytest.raises(ConfigurationError, match="damaged"):
        load_or_create_key(path)
    assert path.read_text() == content


def test_an_error_about_a_key_never_shows_the_key(tmp_path: Path) -> None:
    path = key_file(tmp_path / "worker.key", SEED, 0o644)
    with pytest.raises(ConfigurationError) as refused:
        load_or_create_key(path)
    assert SEED not in str(refused.value)


def test_a_directory_in_the_place_of_the_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_or_create_key(tmp_path)


def test_a_path_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="--key"):
        load_or_create_key(tmp_path / "file" / "worker.key")
