"""The API key of a client: where it comes from, where it goes, and where it must never be seen."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from compute_router.protocol.errors import ComputeRouterError, ConfigurationError
from compute_router.sdk import (
    AsyncComputeRouter,
    AuthenticationError,
    ComputeRouter,
    Fallback,
    InvalidArgumentError,
    KeyLimits,
    PermissionDeniedError,
    TaskJob,
    TooManyRequestsError,
)
from compute_router.sdk.__main__ import main
from compute_router.sdk.api_key_file import read_api_key
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.settings import resolve_settings
from tests.fakes.http_coordinator import (
    FALLBACK_HOST,
    FakeCoordinator,
    Headed,
    Reply,
    completed,
    failed,
    refused,
)

URL = "http://coordinator.example"
SECRET = "S" * 43
KEY = f"crk_abcdef123456_{SECRET}"
OTHER = f"crk_abcdef123456_{'O' * 43}"
INFO = {
    "key_id": "abcdef123456",
    "name": "phone",
    "scope": "user",
    "user_id": "bob",
    "jobs_per_minute": None,
    "jobs_at_once": 2,
    "jobs_per_day": None,
    "created_at": "2026-02-09T12:00:00.000Z",
    "revoked_at": None,
}
JOB = TaskJob("summarize", "Text.")
SUMMARY = b'{"summary":"Short.","word_count":12}'
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def served(coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCoordinator]:
    """The coordinator on a real port, for the command line; its key is in the environment."""
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        monkeypatch.setenv("COMPUTE_ROUTER_USER_ID", "alice")
        monkeypatch.setenv("COMPUTE_ROUTER_API_KEY", KEY)
        yield coordinator


def client(
    coordinator: FakeCoordinator, api_key: str | None = KEY, fallback: Fallback | None = None
) -> ComputeRouter:
    return ComputeRouter(
        URL,
        user_id="alice",
        api_key=api_key,
        fallback=fallback,
        transport=coordinator.transport(),
        clock=coordinator.clock,
        sleep=coordinator.clock.sleep,
    )


def answer(status: int, value: object) -> Reply:
    return status, msgspec.json.encode(value)


def test_every_request_carries_the_key(coordinator: FakeCoordinator) -> None:
    coordinator.about_job = [completed(SUMMARY)]
    with client(coordinator) as router:
        router.run_task("summarize", "Text.")
    assert len(coordinator.asked) == 3
    assert {each.authorization for each in coordinator.asked} == {f"Bearer {KEY}"}


async def run_asynchronously(coordinator: FakeCoordinator) -> None:
    async with AsyncComputeRouter(
        URL, user_id="alice", api_key=KEY, transport=coordinator.transport()
    ) as router:
        await router.quote("TASK")


def test_the_asyncio_client_carries_it_too(coordinator: FakeCoordinator) -> None:
    asyncio.run(run_asynchronously(coordinator))
    assert [each.authorization for each in coordinator.asked] == [f"Bearer {KEY}"]


def test_without_a_key_there_is_no_header(coordinator: FakeCoordinator) -> None:
    with client(coordinator, None) as router:
        router.quote("TASK")
    assert [each.authorization for each in coordinator.asked] == [None]


def test_the_key_never_goes_to_the_fallback(coordinator: FakeCoordinator) -> None:
    coordinator.about_job = [failed("no_eligible_worker")]
    coordinator.fallback = answer(200, {"model": "m", "choices": [{"message": {"content": "Text."}}]})
    with client(coordinator, fallback=Fallback(f"https://{FALLBACK_HOST}/v1", None, "m")) as router:
        assert router.run_llm("Why?").source == "fallback"
    assert [each.authorization for each in coordinator.fallback_asked] == [None]


def test_an_argument_wins_over_the_environment() -> None:
    environ = {"COMPUTE_ROUTER_API_KEY": KEY}
    assert resolve_settings(None, None, None, environ).api_key == KEY
    assert resolve_settings(None, None, None, environ, api_key=OTHER).api_key == OTHER
    assert resolve_settings(None, None, None, {"COMPUTE_ROUTER_API_KEY": ""}).api_key is None
    assert resolve_settings(None, None, None, environ, api_key="").api_key is None


@pytest.mark.parametrize("wrong", [SECRET, KEY + "\r\nX: y", KEY[:-1], f"Bearer {KEY}", "crt_" + SECRET])
def test_what_is_no_key_is_refused_at_once_and_not_repeated(wrong: str) -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        resolve_settings(None, None, None, {}, api_key=wrong)
    assert SECRET[:-1] not in str(refusal.value)


def test_the_key_is_in_no_text_log_or_error(
    coordinator: FakeCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    coordinator.overrides["/v1/quote"] = httpx.ConnectError("refused")
    shown = [repr(resolve_settings(None, None, None, {}, api_key=KEY))]
    with client(coordinator) as router:
        shown += [repr(router), str(vars(router)), str(vars(router._core))]
        for path in ("/v1/health", "/v1/trust/list"):
            coordinator.overrides[path] = refused(401, "unauthorized", message="This API key is not valid.")
        for ask in (lambda: router.quote("TASK"), router.health, router.list_providers):
            with pytest.raises(ComputeRouterError) as error:
                ask()
            shown += [str(error.value), repr(error.value), str(vars(error.value))]
    assert SECRET not in "".join(shown) + caplog.text


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", AuthenticationError),
        (403, "forbidden", PermissionDeniedError),
        (401, "some_other_code", AuthenticationError),
        (403, "some_other_code", PermissionDeniedError),
    ],
)
def test_a_refusal_has_a_class_of_its_own(
    coordinator: FakeCoordinator, status: int, code: str, kind: type[ComputeRouterError]
) -> None:
    coordinator.commit = refused(status, code, message="No.")
    with client(coordinator) as router, pytest.raises(kind, match=r"No\."):
        router.submit(JOB)
    assert len(coordinator.committed) == 1


@pytest.mark.parametrize("reason", ["jobs_per_minute", "jobs_at_once", "jobs_per_day"])
def test_a_limit_says_which_and_how_long(coordinator: FakeCoordinator, reason: str) -> None:
    coordinator.commit = Headed(refused(429, reason, message="Too many."), {"Retry-After": "40000"})
    with client(coordinator) as router, pytest.raises(TooManyRequestsError) as refusal:
        router.submit(JOB)
    error = refusal.value
    assert (error.status, error.reason, error.retry_after_s) == (429, reason, 40_000)
    # The pause that was asked for does not fit into the time, so there was no repeat.
    assert len(coordinator.committed) == 1


def test_a_short_limit_is_waited_for(coordinator: FakeCoordinator) -> None:
    limited = Headed(refused(429, "jobs_per_minute", message="Too many."), {"Retry-After": "5"})
    coordinator.commit = [limited, None]
    with client(coordinator) as router:
        router.submit(JOB)
    assert coordinator.clock.pauses[0] >= 5


# Managing keys


def test_a_key_is_made_listed_and_revoked(coordinator: FakeCoordinator) -> None:
    coordinator.overrides["/v1/keys"] = answer(201, INFO | {"key": OTHER})
    with client(coordinator) as router:
        made = router.create_api_key(user_id="bob", name="phone", limits=KeyLimits(jobs_at_once=2))
        assert (made.key, made.user_id, made.jobs_at_once) == (OTHER, "bob", 2)
        coordinator.overrides["/v1/keys"] = answer(200, {"keys": [INFO]})
        assert [key.key_id for key in router.list_api_keys()] == ["abcdef123456"]
        revoked = {"key_id": "abcdef123456", "revoked_at": INFO["created_at"]}
        coordinator.overrides["/v1/keys/abcdef123456"] = answer(200, revoked)
        assert router.revoke_api_key("abcdef123456").revoked_at == INFO["created_at"]
    create, listing, revoke = coordinator.asked
    wanted = {"scope": "user", "user_id": "bob", "name": "phone", "jobs_at_once": 2}
    assert create.json == wanted | {"jobs_per_minute": None, "jobs_per_day": None}
    assert [(each.method, each.path) for each in (listing, revoke)] == [
        ("GET", "/v1/keys"),
        ("DELETE", "/v1/keys/abcdef123456"),
    ]


def test_what_cannot_be_a_key_is_not_asked_for(coordinator: FakeCoordinator) -> None:
    with client(coordinator) as router:
        for wrong in (
            lambda: router.create_api_key(),
            lambda: router.create_api_key(scope="admin", user_id="bob"),
            lambda: router.create_api_key(scope="root"),  # type: ignore[arg-type]
            lambda: router.create_api_key(user_id="bob", limits=KeyLimits(jobs_per_day=0)),
            lambda: router.revoke_api_key("../jobs/x"),
            lambda: router.revoke_api_key(KEY),
        ):
            with pytest.raises(InvalidArgumentError) as refusal:
                wrong()
            assert SECRET not in str(refusal.value)
    assert coordinator.asked == []


# The file of a key


def key_file(directory: Path, content: str = KEY + "\n", mode: int = 0o600) -> Path:
    path = directory / "api.key"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_file_holds_one_key_for_its_owner_alone(tmp_path: Path) -> None:
    assert read_api_key(key_file(tmp_path)) == KEY


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_api_key(key_file(tmp_path, mode=mode))


@pytest.mark.parametrize("content", ["", KEY + "\n" + OTHER, SECRET, "\u00e4" * 60, KEY + "x" * 9000])
def test_a_file_without_a_key_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match="holds no API key") as refusal:
        read_api_key(key_file(tmp_path, content))
    assert SECRET not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.key cannot be read"):
        read_api_key(tmp_path / "missing.key")


# The command line


def test_commands_take_the_key_from_the_environment_or_a_file(
    served: FakeCoordinator, tmp_path: Path
) -> None:
    assert main(["quote", "TASK"]) == ExitCode.OK
    assert main(["quote", "TASK", "--api-key-file", str(key_file(tmp_path, OTHER))]) == ExitCode.OK
    assert [each.authorization for each in served.asked] == [f"Bearer {KEY}", f"Bearer {OTHER}"]


def test_no_command_takes_the_key_on_its_command_line(served: FakeCoordinator, capsys: Capture) -> None:
    for option in ("--api-key", "--api-key-file"):
        assert main(["quote", "TASK", option, KEY]) == ExitCode.USAGE
        captured = capsys.readouterr()
        assert "can be seen by others" in captured.err
        assert SECRET not in captured.err + captured.out
    assert served.asked == []


def test_a_new_key_is_printed_alone_and_once(served: FakeCoordinator, capsys: Capture) -> None:
    served.overrides["/v1/keys"] = answer(201, INFO | {"key": OTHER})
    assert main(["keys", "create", "--user", "bob", "--name", "phone", "--jobs-at-once", "2"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == OTHER + "\n"
    assert OTHER[-43:] not in captured.err
    assert "abcdef123456" in captured.err


def test_a_new_key_is_printed_as_json_for_programs(served: FakeCoordinator, capsys: Capture) -> None:
    served.overrides["/v1/keys"] = answer(201, INFO | {"key": OTHER})
    assert main(["keys", "create", "--user", "bob", "--json"]) == ExitCode.OK
    assert msgspec.json.decode(capsys.readouterr().out) == INFO | {"key": OTHER}


def test_keys_are_listed_one_a_line(served: FakeCoordinator, capsys: Capture) -> None:
    revoked = INFO | {"name": "a\x1b[2J", "revoked_at": INFO["created_at"]}
    served.overrides["/v1/keys"] = answer(200, {"keys": [INFO, revoked]})
    assert main(["keys", "list"]) == ExitCode.OK
    first, second = capsys.readouterr().out.splitlines()
    assert first == ('abcdef123456  user  bob  "phone"  jobs_at_once 2  made 2026-02-09T12:00:00.000Z')
    assert "REVOKED 2026-02-09" in second
    assert "\x1b" not in second


def test_a_key_is_revoked_by_its_id(served: FakeCoordinator, capsys: Capture) -> None:
    revoked = {"key_id": "abcdef123456", "revoked_at": INFO["created_at"]}
    served.overrides["/v1/keys/abcdef123456"] = answer(200, revoked)
    assert main(["keys", "revoke", "abcdef123456"]) == ExitCode.OK
    assert capsys.readouterr().out == "abcdef123456 revoked at 2026-02-09T12:00:00.000Z\n"


def test_a_refusal_is_told_with_its_code(served: FakeCoordinator, capsys: Capture) -> None:
    served.overrides["/v1/keys"] = refused(403, "forbidden", message="This needs an admin key.")
    assert main(["keys", "list", "--json"]) == ExitCode.FAILED
    assert msgspec.json.decode(capsys.readouterr().out) == {
        "error": "forbidden",
        "message": "This needs an admin key.",
    }


@pytest.mark.parametrize(
    "words",
    [
        ["keys"],
        ["keys", "create"],
        ["keys", "create", "--scope", "root"],
        ["keys", "create", "--scope", "admin", "--user", "bob"],
        ["keys", "create", "--user", "bob", "--jobs-per-day", "0"],
        ["keys", "create", "--scope", "admin", "--db", "solana.db", "--coordinator", "http://x"],
        ["keys", "create", "--scope", "admin", "--db", "solana.db", "--json"],
        ["keys", "create", "--scope", "admin", "--db", "solana.db", "--chain", "monad"],
        ["keys", "create", "--scope", "admin", "--db", "solana.db", "--timeout", "5"],
        ["keys", "create", "--db", "solana.db"],
        ["keys", "revoke"],
        ["keys", "revoke", KEY],
    ],
    ids=lambda words: " ".join(words[:6]),
)
def test_a_wrong_command_line_is_exit_code_2(
    served: FakeCoordinator, words: list[str], capsys: Capture
) -> None:
    assert main(words) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert SECRET not in captured.err + captured.out
    assert served.asked == []


def test_the_first_key_is_made_by_the_storage_program(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReplacedError(Exception):
        pass

    replaced: list[list[str]] = []

    def execv(_path: str, arguments: list[str]) -> None:
        replaced.append(arguments)
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(ReplacedError):
        main(["keys", "create", "--db", "solana.db", "--scope", "admin", "--name=-first"])
    options = ["--db=solana.db", "--scope=admin", "--name=-first"]
    assert replaced == [[sys.executable, "-m", "compute_router.storage", "create-key", *options]]
