"""What a run of payouts makes of its flags and variables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.transport.payer.settings import Settings, read_settings

API_KEY: Final = "crk_aaaaaaaaaaaa_" + "a" * 43


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
def admin(tmp_path: Path) -> str:
    """A file with an admin key."""
    return str(private(tmp_path / "admin.key", API_KEY + "\n"))


def settings(*flags: str, **environ: str) -> Settings:
    return read_settings(flags, {f"COMPUTE_ROUTER_PAYOUT_{name}": text for name, text in environ.items()})


def refused(capsys: pytest.CaptureFixture[str], *flags: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings(*flags, **environ)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_all_but_what_is_done_can_come_from_the_environment(admin: str) -> None:
    read = settings(
        "--execute",
        CHAIN="monad",
        URL="https://jobs.example/",
        API_KEY_FILE=admin,
        RPC_URL="https://node.example/key",
        KEY="payer.key",
        THRESHOLD="0.25",
        LIMIT="7",
        WAIT_SECONDS="2.5",
    )
    assert read == Settings(
        chain=Chain.MONAD,
        url="https://jobs.example",
        api_key=API_KEY,
        rpc_url="https://node.example/key",
        key=Path("payer.key"),
        threshold=MicroUsd(250_000),
        limit=7,
        wait=DurationMs(2_500),
    )


def test_no_variable_pays(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, CHAIN="monad", API_KEY_FILE=admin, KEY="payer.key", EXECUTE="yes")
    assert "--dry-run --execute is required" in sentence


def test_a_look_needs_no_key_that_pays(admin: str) -> None:
    read = settings("--dry-run", CHAIN="solana", API_KEY_FILE=admin, KEY="payer.key")
    assert (read.key, read.url) == (None, "http://127.0.0.1:4020")
    assert (read.threshold, read.limit, read.wait) == (1_000_000, 200, 90_000)
    assert read.rpc_url == "https://api.devnet.solana.com"


def test_flags_win_over_the_environment(admin: str, tmp_path: Path) -> None:
    node = private(tmp_path / "node", "https://node.example/of-the-file\n")
    environ = {"CHAIN": "monad", "API_KEY_FILE": admin, "RPC_URL": "https://other.example", "THRESHOLD": "5"}
    read = settings("--dry-run", "--threshold", "$0.5", "--rpc-url-file", str(node), **environ)
    assert (read.rpc_url, read.threshold) == ("https://node.example/of-the-file", 500_000)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--rpc-url", "https://a.example", "--rpc-url-file", "b"), "give one"),
        (("--threshold", "0"), "'0' is not above 0 dollars"),
        (("--limit", "201"), "'201' is not a number of workers from 1 to 200"),
        (("--wait-seconds", "3601"), "'3601' is not a number of seconds from 0 to 3600"),
        (("--chain", "moon"), "'moon' is not solana or monad"),
        (("--execute", "--dry-run"), "not allowed with"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(
    admin: str, flags: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    what = () if "--execute" in flags else ("--dry-run",)
    told = refused(capsys, *what, *flags, CHAIN="monad", API_KEY_FILE=admin)
    assert sentence in told


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"API_KEY_FILE": "a"}, "--chain is needed, or the variable COMPUTE_ROUTER_PAYOUT_CHAIN"),
        ({"CHAIN": "monad"}, "--api-key-file is needed, or the variable COMPUTE_ROUTER_PAYOUT_API_KEY_FILE"),
    ],
)
def test_what_is_needed_is_named_with_its_variable(
    environ: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "--dry-run", **environ)


def test_a_key_in_place_of_its_file_is_refused_and_not_shown(
    admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "ab" * 32
    told = refused(capsys, "--execute", "--key", key, CHAIN="monad", API_KEY_FILE=admin)
    assert key not in told


@pytest.mark.parametrize("variable", ["API_KEY_FILE", "RPC_URL_FILE"])
def test_what_is_to_be_in_a_file_is_refused_in_its_place_and_not_shown(
    variable: str, admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = {"API_KEY_FILE": API_KEY, "RPC_URL_FILE": "https://node.example/?key=aaaaaaaaaaaa"}[variable]
    told = refused(capsys, "--dry-run", **({"CHAIN": "monad", "API_KEY_FILE": admin} | {variable: secret}))
    assert "and not a file" in told
    assert "aaaaaaaaaaaa" not in told


def test_a_file_of_the_nodes_url_that_is_not_there_is_named(admin: str) -> None:
    with pytest.raises(ConfigurationError, match="nowhere cannot be read"):
        settings("--dry-run", "--rpc-url-file", "nowhere", CHAIN="monad", API_KEY_FILE=admin)


def test_no_secret_is_in_what_is_logged_of_it(admin: str) -> None:
    read = settings("--dry-run", CHAIN="monad", API_KEY_FILE=admin, RPC_URL="https://node.example/secret")
    assert API_KEY not in repr(read)
    assert "secret" not in repr(read)
