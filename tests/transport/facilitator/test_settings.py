"""What a facilitator makes of its flags and variables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.transport.facilitator.settings import Settings, read_settings

ADDRESS: Final = "0x534b2f3A21130d7a60830c2Df862319e593943A3"
OTHER_ADDRESS: Final = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
NEEDED: Final = {"CHAIN": "monad", "KEY": "gas.key"}


def settings(*flags: str, **environ: str) -> Settings:
    return read_settings(
        flags, {f"COMPUTE_ROUTER_FACILITATOR_{name}": text for name, text in environ.items()}
    )


def refused(capsys: pytest.CaptureFixture[str], *flags: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings(*flags, **environ)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_all_can_come_from_the_environment() -> None:
    read = settings(
        **NEEDED,
        RPC_URL="https://node.example/key",
        PAY_TO=f"{ADDRESS}, {OTHER_ADDRESS}",
        MIN_AMOUNT="0.25",
        HOST="0.0.0.0",
        PORT="0",
        DB="past.book",
        CONFIRM_SECONDS="2.5",
        LOG_LEVEL="debug",
    )
    assert read == Settings(
        chain=Chain.MONAD,
        rpc_url="https://node.example/key",
        key=Path("gas.key"),
        host="0.0.0.0",
        port=0,
        db=Path("past.book"),
        log_level="DEBUG",
        confirm=DurationMs(2_500),
        pay_to=(ADDRESS, OTHER_ADDRESS),
        least=MicroUsd(250_000),
        secret=None,
    )


def test_flags_win_over_the_environment() -> None:
    read = settings(
        "--chain=monad",
        "--port=7",
        "--pay-to",
        OTHER_ADDRESS,
        CHAIN="solana",
        PORT="8",
        KEY="k",
        PAY_TO=ADDRESS,
    )
    assert (read.chain, read.port, read.pay_to) == (Chain.MONAD, 7, (OTHER_ADDRESS,))


@pytest.mark.parametrize("flag", ["--rpc-url", "--rpc-url-file"])
def test_of_two_ways_to_name_the_node_the_flag_wins(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "node.url"
    file.write_text("https://file.example\n", encoding="utf-8")
    given = {"--rpc-url": "https://flag.example", "--rpc-url-file": str(file)}
    expected = {"--rpc-url": "https://flag.example", "--rpc-url-file": "https://file.example"}
    variables = {"RPC_URL": "https://variable.example", "RPC_URL_FILE": str(tmp_path / "none")}
    assert settings(flag, given[flag], **NEEDED, **variables).rpc_url == expected[flag]


def test_two_ways_at_once_to_name_the_node_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    both = {"RPC_URL": "https://node.example", "RPC_URL_FILE": "node.url"}
    assert "give one" in refused(capsys, **NEEDED, **both)
    assert "give one" in refused(capsys, "--rpc-url=https://a.example", "--rpc-url-file=f", **NEEDED)


@pytest.mark.parametrize("missing", NEEDED)
def test_what_it_cannot_do_without_is_asked_for(capsys: pytest.CaptureFixture[str], missing: str) -> None:
    given = {name: text for name, text in NEEDED.items() if name != missing}
    told = refused(capsys, **given)
    assert f"--{missing.lower()}" in told
    assert f"COMPUTE_ROUTER_FACILITATOR_{missing}" in told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CHAIN", "base"),
        ("PORT", "65536"),
        ("MIN_AMOUNT", "1e3"),
        ("CONFIRM_SECONDS", "601"),
        ("OPEN", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("PAY_TO", "0x12"),
        ("RPC_URL", "node"),
    ],
)
def test_a_bad_variable_is_refused_like_a_bad_flag(
    capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    assert "error:" in refused(capsys, **{**NEEDED, name: text})


def test_half_a_flag_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--min" in refused(capsys, "--min", "5", **NEEDED)


def test_whom_it_settles_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--open" in refused(capsys, **NEEDED, PAY_TO=ADDRESS, OPEN="yes")
    assert settings("--open", **NEEDED).pay_to == ()
    assert settings("--open", "no", **NEEDED, PAY_TO=ADDRESS).pay_to == (ADDRESS,)


def test_a_key_in_place_of_its_file_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, **{**NEEDED, "KEY": "ab" * 32})
    assert "a key and not a file" in said
    assert "abab" not in said


def test_what_only_a_coordinator_says_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings("--help")
    assert "supervised" not in capsys.readouterr().out
