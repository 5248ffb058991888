"""The command line with sealed jobs, and where it keeps the keys to their results."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from compute_router.sdk import ComputeRouter, InvalidArgumentError, LlmJob, ReplyKey
from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.reply_key_files import KEPT_S, ReplyKeyFiles
from compute_router.sdk.trust_file import TrustFile
from tests.fakes.http_coordinator import JOB_ID, PENDING, completed, failed, refused
from tests.fakes.sealed_coordinator import NETWORK, OUTPUT, OWN_KEY, SealedCoordinator

Capture = pytest.CaptureFixture[str]
PROMPT = "tangerine dream"
KEY = ReplyKey("aa" * 32, "bb" * 32, (OWN_KEY,))


@pytest.fixture
def coordinator() -> SealedCoordinator:
    return SealedCoordinator()


@pytest.fixture
def trust_file(tmp_path: Path) -> Path:
    """A trust file in which alice's worker is pinned."""
    path = tmp_path / "config" / "trust.json"
    TrustFile(path).pin(NETWORK, "alice", OWN_KEY)
    return path


@pytest.fixture(autouse=True)
def _environment(
    coordinator: SealedCoordinator, trust_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        monkeypatch.setenv("COMPUTE_ROUTER_USER_ID", "alice")
        monkeypatch.setenv("COMPUTE_ROUTER_TRUST_FILE", str(trust_file))
        yield


def kept(trust_file: Path) -> list[Path]:
    return list((trust_file.parent / "reply-keys").glob("*"))


def test_a_private_run_is_sealed_and_leaves_no_key(
    coordinator: SealedCoordinator, trust_file: Path, capsys: Capture
) -> None:
    assert main(["run", "llm", PROMPT, "--private"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == "a sweet answer\n"
    assert "verified: signed by worker" in captured.err
    assert PROMPT.encode() not in coordinator.everything_sent
    assert kept(trust_file) == []


def test_the_result_for_programs_says_that_it_was_sealed(capsys: Capture) -> None:
    assert main(["run", "llm", PROMPT, "--private", "--json"]) == ExitCode.OK
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["text"], document["sealed"], document["job_id"]) == ("a sweet answer", True, JOB_ID)


def test_unsealed_has_to_be_asked_for(coordinator: SealedCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(OUTPUT)]
    assert main(["run", "llm", PROMPT, "--private", "--no-seal"]) == ExitCode.OK
    assert PROMPT.encode() in coordinator.committed[0].body


@pytest.mark.parametrize("as_json", [True, False])
def test_a_job_that_is_not_waited_for_can_be_read_once_later(
    trust_file: Path, capsys: Capture, as_json: bool
) -> None:
    words = ["run", "llm", PROMPT, "--private", "--no-wait", *(["--json"] if as_json else [])]
    assert main(words) == ExitCode.OK
    assert JOB_ID in capsys.readouterr().out
    [path] = kept(trust_file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert main(["status", JOB_ID]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "a sweet answer" in captured.out
    assert "key to it is deleted" in captured.err
    assert kept(trust_file) == []
    assert main(["status", JOB_ID]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "sealed; the key to it is where the job was submitted" in captured.out
    assert "ciphertext" not in captured.out


def test_the_keys_are_beside_the_trust_file_that_was_named(
    tmp_path: Path, trust_file: Path, capsys: Capture
) -> None:
    named = tmp_path / "named" / "trust.json"
    TrustFile(named).pin(NETWORK, "alice", OWN_KEY)
    words = ["run", "llm", PROMPT, "--private", "--no-wait", "--trust-file", str(named)]
    assert main(words) == ExitCode.OK
    assert (len(kept(named)), kept(trust_file)) == (1, [])
    assert main(["status", JOB_ID, "--trust-file", str(named)]) == ExitCode.OK
    assert "a sweet answer" in capsys.readouterr().out
    assert kept(named) == []


def test_a_job_that_took_too_long_can_be_read_later(
    coordinator: SealedCoordinator, trust_file: Path, capsys: Capture
) -> None:
    coordinator.about_job = [PENDING]
    words = ["run", "llm", PROMPT, "--private", "--timeout", "0", "--json"]
    assert main(words) == ExitCode.TIMEOUT
    assert msgspec.json.decode(capsys.readouterr().out)["job_id"] == JOB_ID
    assert len(kept(trust_file)) == 1
    coordinator.about_job.clear()
    assert main(["status", JOB_ID]) == ExitCode.OK
    assert "a sweet answer" in capsys.readouterr().out


@pytest.mark.parametrize("reason", ["worker_error", "attempts_exhausted"])
def test_a_job_that_failed_leaves_no_key(
    coordinator: SealedCoordinator, trust_file: Path, capsys: Capture, reason: str
) -> None:
    coordinator.about_job = [failed(reason)]
    assert main(["run", "llm", PROMPT, "--private"]) == ExitCode.FAILED
    assert kept(trust_file) == []


def test_an_unpinned_worker_is_an_error_that_says_how_to_pin(
    coordinator: SealedCoordinator, capsys: Capture
) -> None:
    coordinator.listed = ["cd" * 32]
    assert main(["run", "llm", PROMPT, "--private"]) == ExitCode.FAILED
    assert "compute-router trust pin PUBKEY" in capsys.readouterr().err
    assert coordinator.committed == []


def test_an_id_that_is_a_path_stays_in_the_directory(tmp_path: Path) -> None:
    files = ReplyKeyFiles(tmp_path / "deep" / "keys")
    for job_id in ("../../escaped", "/etc/passwd", "\ud800", ""):
        files.put(KEY)
        files.name(KEY, job_id)
        assert files.handle(job_id).reply_key == KEY
    written = {path.parent for path in (tmp_path / "deep").rglob("*") if path.is_file()}
    assert written == {tmp_path / "deep" / "keys"}


def test_a_key_that_others_may_read_or_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    files = ReplyKeyFiles(tmp_path / "keys")
    files.put(KEY)
    files.name(KEY, JOB_ID)
    [path] = (tmp_path / "keys").iterdir()
    path.chmod(0o644)
    with pytest.raises(InvalidArgumentError, match="chmod 600"):
        files.handle(JOB_ID)
    path.chmod(0o600)
    path.write_text('{"secret":"xyz"}')
    with pytest.raises(InvalidArgumentError, match="damaged") as error:
        files.handle(JOB_ID)
    assert "xyz" not in str(error.value)


def test_keys_that_were_never_used_are_deleted_after_a_month(tmp_path: Path) -> None:
    now_s = 0.0
    files = ReplyKeyFiles(tmp_path, lambda: now_s)
    files.put(KEY)
    files.name(KEY, "old")
    now_s = next(tmp_path.iterdir()).stat().st_mtime + KEPT_S + 1
    files.put(KEY)
    files.name(KEY, "new")
    assert (files.handle("old").reply_key, files.handle("new").reply_key) == (None, KEY)


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="cannot be kept"):
        ReplyKeyFiles(tmp_path / "file" / "keys").put(KEY)


@pytest.mark.parametrize("words", [[], ["--no-wait"]])
def test_when_the_key_cannot_be_kept_the_job_is_not_sent(
    coordinator: SealedCoordinator, trust_file: Path, capsys: Capture, words: list[str]
) -> None:
    (trust_file.parent / "reply-keys").write_text("no directory")
    assert main(["run", "llm", PROMPT, "--private", *words]) == ExitCode.USAGE
    assert "Nothing was sent" in capsys.readouterr().err
    assert coordinator.committed == []


def test_a_key_is_kept_before_the_job_is_sent(coordinator: SealedCoordinator, trust_file: Path) -> None:
    sealed: list[ReplyKey] = []

    def note(key: ReplyKey) -> None:
        assert coordinator.committed == []
        sealed.append(key)

    with ComputeRouter(trust_file=trust_file) as router:
        result = router.run_llm(PROMPT, privacy="PRIVATE", on_sealed=note)
        handle = router.submit(LlmJob(PROMPT, privacy="PRIVATE"), on_sealed=sealed.append)
    assert result.sealed
    assert handle.reply_key == sealed[-1]


def test_a_job_that_is_not_taken_leaves_no_key(coordinator: SealedCoordinator, trust_file: Path) -> None:
    coordinator.commit = refused(400, "invalid_request", message="No.")
    assert main(["run", "llm", PROMPT, "--private"]) == ExitCode.FAILED
    assert len(coordinator.committed) == 1
    assert kept(trust_file) == []
