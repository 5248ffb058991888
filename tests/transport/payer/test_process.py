"""``compute-router payout`` as an operator runs it, beside a running coordinator and a local chain."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compute_router.transport.authentication import AuthMode
from compute_router.transport.payer.__main__ import main
from tests.transport.accounts import accounts
from tests.transport.test_payouts import earn, earnings, named
from tests.transport.worker_client import worker

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def solana() -> Iterator[LocalSolana]:
    from tools.local_chains.solana import LocalSolana

    with LocalSolana() as chain:
        yield chain


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


async def payout(*words: str) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "compute_router.sdk", "payout", "--chain", "solana", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_operator_looks_pays_and_looks_again(tmp_path: Path, solana: LocalSolana) -> None:
    operator, home = solana.new_key(), str(solana.new_key().pubkey())
    solana.fund(str(operator.pubkey()), 1_000_000)  # type: ignore[arg-type]
    solana.fund_gas(str(operator.pubkey()))
    key = private(tmp_path / "operator.json", json.dumps(list(bytes(operator))))
    async with accounts(tmp_path, AuthMode.OPEN) as there, worker(there.router.port) as client:
        await named(client, home)
        await client.hears_nothing()
        await earn(there.router, client.pubkey)
        admin = private(tmp_path / "admin.key", there.admin)
        usual = [
            *("--url", f"http://127.0.0.1:{there.router.port}", "--api-key-file", str(admin)),
            *("--rpc-url", solana.rpc_url, "--threshold", "0.005"),
        ]
        code, out, _ = await payout(*usual, "--dry-run")
        assert (code, solana.balance(home)) == (0, 0)
        assert f"would pay $0.005 to {home} for {client.pubkey}" in out
        pay = (*usual, "--execute", "--key", str(key), "--wait-seconds", "0")
        code, out, err = await payout(*pay)
        assert (code, out.splitlines()[-1]) == (1, "0 paid, 0 owed again, 1 still open"), err
        solana.advance(15)
        code, out, err = await payout(*pay)
        assert (code, out.splitlines()[-1]) == (0, "1 paid, 0 owed again, 0 still open"), err
        assert solana.balance(home) == 5_000
        assert (await client.receive())["type"] == "payment_posted"
        found = await earnings(there.router, client.pubkey)
        assert (found["paid_out"], found["pending"]) == (5_000, 0)
        code, out, _ = await payout(*usual, "--dry-run")
        assert "0 to pay, $0.000 in all; 0 open from before" in out
        assert (
            "Nobody with a payout address and no open payout is owed $0.005 or more; see --threshold." in out
        )
        assert there.admin[-20:] not in out + err


@pytest.mark.parametrize(
    "words",
    [
        ["--dry-run"],
        ["--chain", "monad", "--dry-run"],
        ["--chain", "monad"],
        ["--chain", "monad", "--dry-run", "--execute"],
        ["--chain", "monad", "--execute"],
        ["--chain", "monad", "--dry-run", "--threshold", "0"],
        ["--chain", "monad", "--dry-run", "--threshold", "-1"],
        ["--chain", "monad", "--dry-run", "--threshold", "1e3"],
        ["--chain", "monad", "--dry-run", "--limit", "0"],
        ["--chain", "monad", "--dry-run", "--wait-seconds", "nan"],
        ["--chain", "monad", "--dry-run", "--url", "ftp://here"],
        ["--chain", "monad", "--dry-run", "--rpc-url", "here"],
    ],
)
def test_a_wrong_flag_is_refused(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words if len(words) == 3 and "--dry-run" in words else [*words, "--api-key-file", "unread"])
    assert ended.value.code == 2


def test_a_file_without_an_admin_key_of_its_owner_is_refused(tmp_path: Path, capsys: Capture) -> None:
    open_to_all = tmp_path / "key"
    open_to_all.write_text("crk_000000000000_" + "A" * 43)
    open_to_all.chmod(0o644)
    assert main(["--chain", "monad", "--dry-run", "--api-key-file", str(open_to_all)]) == 1
    assert "chmod 600" in capsys.readouterr().err
    assert main(["--chain", "monad", "--dry-run", "--api-key-file", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert (
        main(["--chain", "monad", "--dry-run", "--api-key-file", str(private(tmp_path / "odd", "crk"))]) == 1
    )
    assert "holds no API key" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--url", "--rpc-url"])
@pytest.mark.parametrize("url", ["http://[", "http://[::1", "http://host:99999", "http://", "ftp://host", ""])
def test_a_url_that_there_cannot_be_is_refused_in_a_sentence_that_does_not_show_it(
    tmp_path: Path, capsys: Capture, flag: str, url: str
) -> None:
    admin = private(tmp_path / "admin.key", "crk_aaaaaaaaaaaa_" + "a" * 43)
    with pytest.raises(SystemExit) as end:
        main(["--chain", "solana", "--api-key-file", str(admin), "--dry-run", flag, url])
    assert end.value.code == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.endswith(f"error: {flag} must be a URL such as https://host or http://host:8000/path")
