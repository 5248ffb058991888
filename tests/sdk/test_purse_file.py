"""The purse of a user: one file for all his programs, which is never half written, lost or read by others."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compute_router.protocol.units import MicroUsd
from compute_router.sdk import Wallet, WalletError
from compute_router.sdk.purse_file import AwaitedJob, PurseFile, SentPayment
from tests.fakes.till import TOKEN
from tests.sdk.clients import URL

JOB = AwaitedJob(1.0, 2.0, 3.0, TOKEN, MicroUsd(10))


def purse_at(path: Path) -> PurseFile:
    return PurseFile(path, URL, lambda: 0.0)


def token(number: int) -> str:
    return f"crc_{number:043d}"


def payment(number: int, dies_at: float = 10.0) -> SentPayment:
    return SentPayment("a" * 64, "p" * 1200 + str(number), MicroUsd(1000), dies_at)


def test_links_to_one_purse_share_its_lock_and_stay_links(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "other").mkdir()
    target, link = tmp_path / "home" / "purse.json", tmp_path / "other" / "purse.json"
    link.symlink_to(target)
    purse_at(link).keep_credit(token(1), MicroUsd(5))
    purse_at(target).keep_credit(token(2), MicroUsd(6))
    assert purse_at(link).credits() == [5, 6]
    assert link.is_symlink()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"purse.json", "purse.json.lock"}
    assert not (tmp_path / "other" / "purse.json.lock").exists()


def test_a_loop_of_links_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "purse.json").symlink_to("purse.json")
    with pytest.raises(WalletError, match="purse"):
        purse_at(tmp_path / "purse.json").keep_credit(token(1), MicroUsd(5))


PROGRAM = """
import sys
from pathlib import Path
from compute_router.protocol.units import MicroUsd
from compute_router.sdk.purse_file import PurseFile
which, path = int(sys.argv[1]), Path(sys.argv[2])
purse = PurseFile(path, "http://coordinator.example", lambda: 0.0)
for number in range(40):
    purse.keep_credit(f"crc_{which * 1000 + number:043d}", MicroUsd(1 + number))
"""


def test_programs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(which), str(path)]) for which in range(4)
    ]
    assert [program.wait() for program in programs] == [0] * 4
    assert len(purse_at(path).credits()) == 160
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_program_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    endless = PROGRAM.replace("range(40)", "__import__('itertools').count()").replace(
        "purse.keep", "print(number, flush=True); purse.keep"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", endless, "1", str(path)], stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout is not None
        for _ in range(5):
            program.stdout.readline()
        program.kill()
    kept = len(purse_at(path).credits())
    assert kept >= 4
    purse_at(path).keep_credit(token(1), MicroUsd(5))
    assert len(purse_at(path).credits()) == kept + 1


def test_a_full_disk_leaves_the_purse_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purse = purse_at(tmp_path / "purse.json")
    purse.keep_credit(token(1), MicroUsd(5))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for change in (
            lambda: purse.keep_credit(token(2), MicroUsd(6)),
            lambda: purse.await_job("job", JOB),
            lambda: purse.put_payment("key", payment(1)),
        ):
            with pytest.raises(WalletError, match="No space left"):
                change()
    assert (purse.credits(), purse.awaited(), purse.payment("key")) == ([5], {}, None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["purse.json", "purse.json.lock"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version":2}', b"\xff", b"[" * 100_000])
def test_a_damaged_purse_is_left_alone_and_not_quoted(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "purse.json"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(WalletError, match="damaged") as caught:
        purse_at(path).keep_credit(token(1), MicroUsd(5))
    assert path.read_bytes() == text
    assert token(1) not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_purse_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    purse = purse_at(tmp_path / "purse.json")
    purse.keep_credit(token(1), MicroUsd(5))
    purse.path.chmod(mode)
    with pytest.raises(WalletError, match="chmod 600"):
        purse.credits()


def test_a_written_purse_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        purse_at(tmp_path / "new" / "purse.json").keep_credit(token(1), MicroUsd(5))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "new").iterdir()} == {0o600}


def test_a_pipe_is_no_purse_and_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "purse.json", 0o600)
    with pytest.raises(WalletError, match="not a file"):
        purse_at(tmp_path / "purse.json").credits()


def test_a_purse_never_grows_so_long_that_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    purse_at(path).put_payment("key", payment(0))
    content = json.loads(path.read_text())
    place = content["coordinators"][URL]
    [kept] = place["payments"].values()
    place["payments"] = {f"{number:064x}": kept for number in range(840)}
    [job] = [{"since": 1.0, "look_at": 2.0, "dies_at": 3.0, "token": TOKEN, "amount": 10}]
    place["awaited"] = {f"job-{number}": job for number in range(2000)}
    path.write_text(json.dumps(content))
    purse = purse_at(path)
    purse.put_payment("one more", payment(1))
    purse.await_job("one-more", JOB)
    assert purse.payment("one more") == payment(1)
    awaited = purse.awaited()
    assert (len(awaited), "job-0" in awaited, "one-more" in awaited) == (2000, False, True)
    assert path.stat().st_size < 4 * 1024 * 1024


def test_a_purse_that_is_full_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    purse = purse_at(path)
    purse.keep_credit(token(1), MicroUsd(5))
    with pytest.raises(WalletError, match="full"):
        purse.put_payment("key", SentPayment("a" * 64, "p" * 5_000_000, MicroUsd(1), 10.0))
    assert purse.credits() == [5]


def test_a_coordinator_that_makes_payments_long_leaves_room_for_others(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    evil = PurseFile(path, "http://evil.example", lambda: 0.0)
    purse_at(path).put_payment("first", payment(1))
    for number in range(300):
        evil.put_payment(f"key-{number}", SentPayment("a" * 64, f"{number:017000}", MicroUsd(1), 10.0))
    purse_at(path).put_payment("second", payment(2))
    assert (purse_at(path).payment("first"), purse_at(path).payment("second")) == (payment(1), payment(2))
    assert (evil.payment("key-299") is None, evil.payment("key-0")) == (False, None)


def test_payments_that_died_are_dropped(tmp_path: Path) -> None:
    now = [0.0]
    purse = PurseFile(tmp_path / "purse.json", URL, lambda: now[0])
    purse.put_payment("old", payment(1, dies_at=5.0))
    now[0] = 6.0
    assert purse.payment("old") is None
    purse.put_payment("new", payment(2, dies_at=9.0))
    assert len(json.loads(purse.path.read_text())["coordinators"][URL]["payments"]) == 1


def test_what_is_kept_shows_no_secret(tmp_path: Path, evm: Wallet) -> None:
    shown = repr(JOB) + repr(payment(1)) + repr(purse_at(tmp_path / "purse.json"))
    assert TOKEN not in shown
    assert "ppp" not in shown


def test_credits_of_one_coordinator_are_not_those_of_another(tmp_path: Path) -> None:
    path = tmp_path / "purse.json"
    purse_at(path).credited("job", token(1), MicroUsd(5))
    other = PurseFile(path, "http://evil.example", time.time)
    assert (other.credits(), other.credit_for(MicroUsd(1)), other.awaited()) == ([], None, {})
