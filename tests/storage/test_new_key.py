"""Making an API key without a coordinator: the way to the first admin key."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.protocol.api_keys import KeyRequest, KeyScope, hash_api_key, key_id_of
from compute_router.protocol.errors import ConfigurationError, DatabaseInUseError
from compute_router.storage.__main__ import main
from compute_router.storage.interface import ApiKey
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import NOON

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "solana.db"
    open_sqlite_store(path).close()
    return path


def keys_in(database: Path) -> tuple[ApiKey, ...]:
    store = open_sqlite_store(database)
    try:
        return store.api_keys()
    finally:
        store.close()


def test_the_key_is_given_to_its_maker_and_only_its_hash_is_kept(database: Path) -> None:
    api_key = make_api_key(database, KeyRequest(KeyScope.ADMIN, name="first"), NOON)
    (kept,) = keys_in(database)
    assert (kept.key_id, kept.key_hash) == (key_id_of(api_key), hash_api_key(api_key))
    assert (kept.scope, kept.user_id, kept.name, kept.created_at) == (KeyScope.ADMIN, None, "first", NOON)
    assert all(api_key[-43:].encode() not in path.read_bytes() for path in database.parent.iterdir())


def test_it_is_refused_while_a_coordinator_holds_the_database(database: Path) -> None:
    store = open_sqlite_store(database)
    with pytest.raises(DatabaseInUseError):
        make_api_key(database, KeyRequest(KeyScope.ADMIN), NOON)
    assert store.api_keys() == ()
    store.close()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a file"):
        make_api_key(tmp_path / "solano.db", KeyRequest(KeyScope.ADMIN), NOON)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_key_alone_on_standard_output(database: Path, capsys: Capture) -> None:
    words = ["--user", "alice", "--name", "phone", "--jobs-per-minute", "6", "--jobs-per-day", "9"]
    assert main(["create-key", "--db", str(database), "--scope", "user", *words]) == 0
    captured = capsys.readouterr()
    (kept,) = keys_in(database)
    assert hash_api_key(captured.out.removesuffix("\n")) == kept.key_hash
    assert kept.key_id in captured.err
    assert captured.out[-44:-1] not in captured.err
    assert (kept.user_id, kept.name) == ("alice", "phone")
    assert (kept.jobs_per_minute, kept.jobs_at_once, kept.jobs_per_day) == (6, None, 9)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--scope", "root"],
        ["--scope", "user"],
        ["--scope", "user", "--user", ""],
        ["--scope", "admin", "--user", "alice"],
        ["--scope", "admin", "--jobs-at-once", "3"],
        ["--scope", "user", "--user", "alice", "--jobs-per-day", "0"],
        ["--scope", "user", "--user", "alice", "--jobs-per-day", "many"],
    ],
    ids=" ".join,
)
def test_what_is_no_key_is_exit_code_2_and_makes_none(
    database: Path, words: list[str], capsys: Capture
) -> None:
    assert main(["create-key", "--db", str(database), *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err != "") == ("", True)
    assert keys_in(database) == ()


def test_the_command_says_that_a_coordinator_runs(database: Path, capsys: Capture) -> None:
    store = open_sqlite_store(database)
    assert main(["create-key", "--db", str(database), "--scope", "admin"]) == 2
    assert "Another coordinator uses" in capsys.readouterr().err
    store.close()
