"""What a coordinator makes of every mixture of flags and variables about payments."""

from __future__ import annotations

from typing import Final

import pytest

from compute_router.actors.payment_gate import PaymentMode
from compute_router.transport.coordinator_settings import Settings, read_settings

ADDRESS: Final = "0x534b2f3A21130d7a60830c2Df862319e593943A3"
OTHER_ADDRESS: Final = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
VALUES: Final = {
    "--pay-to": ADDRESS,
    "--facilitator": "https://facilitator.example",
    "--facilitator-key": "gas.key",
    "--rpc-url": "https://node.example",
    "--fee-bps": "250",
    "--max-unsettled": "2",
    "--max-losses": "20",
}
NODE: Final = "COMPUTE_ROUTER_RPC_URL"


def variable(flag: str) -> str:
    return "COMPUTE_ROUTER_" + flag[2:].replace("-", "_").upper()


def settings(*flags: str, **environ: str) -> Settings:
    return read_settings(
        ["--chain", "monad", *flags], {f"COMPUTE_ROUTER_{name}": text for name, text in environ.items()}
    )


def refused(capsys: pytest.CaptureFixture[str], *flags: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings(*flags, **environ)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_without_a_word_about_payments_they_are_off() -> None:
    assert (settings().payments, settings().unused) == (PaymentMode.OFF, ())


@pytest.mark.parametrize("flag", VALUES)
@pytest.mark.parametrize("off", [[], ["--payments", "off"], ["--payments=off"]], ids=" ".join)
def test_a_flag_about_payments_is_refused_while_they_are_off(
    capsys: pytest.CaptureFixture[str], flag: str, off: list[str]
) -> None:
    for words in ([flag, VALUES[flag]], [f"{flag}={VALUES[flag]}"]):
        assert f"{flag} is for --payments on, and payments are off" in refused(capsys, *off, *words)


@pytest.mark.parametrize("flag", [flag for flag in VALUES if variable(flag) != NODE])
def test_half_an_environment_of_payments_does_not_make_jobs_free(
    capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    for payments in ({}, {"PAYMENTS": ""}):
        environ = {variable(flag).removeprefix("COMPUTE_ROUTER_"): VALUES[flag]}
        sentence = refused(capsys, **environ, **payments)
        assert f"{variable(flag)} is set, and payments are not turned on" in sentence
        assert "set COMPUTE_ROUTER_PAYMENTS to on, or to off" in sentence


def test_the_node_of_a_wallet_says_nothing_about_payments() -> None:
    found = settings(RPC_URL="https://node.example/secret")
    assert (found.payments, found.unused) == (PaymentMode.OFF, (NODE,))


@pytest.mark.parametrize(
    ("flags", "environ"),
    [([], {"PAYMENTS": "off"}), (["--payments", "off"], {}), (["--payments=off"], {"PAYMENTS": "on"})],
)
def test_payments_that_are_turned_off_in_so_many_words_leave_the_rest_of_the_environment_unused(
    flags: list[str], environ: dict[str, str]
) -> None:
    rest = {variable(flag).removeprefix("COMPUTE_ROUTER_"): text for flag, text in VALUES.items()}
    found = settings(*flags, **environ, **rest)
    assert found.payments is PaymentMode.OFF
    assert found.unused == tuple(variable(flag) for flag in VALUES)


@pytest.mark.parametrize("by", ["flags", "environment", "both"])
def test_flags_and_environment_turn_payments_on_alike_and_the_flag_wins(by: str) -> None:
    flags = ["--payments", "on", "--pay-to", ADDRESS, "--fee-bps", "250"] if by != "environment" else []
    environ = {"PAYMENTS": "on", "PAY_TO": ADDRESS, "FEE_BPS": "250"} if by == "environment" else {}
    if by == "both":
        environ = {"PAYMENTS": "off", "PAY_TO": OTHER_ADDRESS, "FEE_BPS": "9"}
    found = settings(*flags, **environ)
    assert (found.payments, found.pay_to, found.fee_bps) == (PaymentMode.ON, ADDRESS, 250)
    assert found.unused == ()


def test_payments_on_without_a_recipient_are_refused_wherever_they_come_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flags, environ in ((["--payments", "on"], {}), ([], {"PAYMENTS": "on"}), ([], {"PAYMENTS": "ON"})):
        assert "--pay-to ADDRESS" in refused(capsys, *flags, **environ)
        assert "--pay-to ADDRESS" in refused(capsys, *flags, **environ, PAY_TO="")


def test_a_local_facilitator_needs_a_key_and_a_remote_one_none_wherever_they_come_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    on = {"PAYMENTS": "on", "PAY_TO": ADDRESS}
    assert "--facilitator-key PATH" in refused(capsys, **on, FACILITATOR="local")
    assert "--facilitator local" in refused(capsys, **on, FACILITATOR_KEY="gas.key")
    found = settings(**on, FACILITATOR="local", FACILITATOR_KEY="gas.key")
    assert (found.facilitator, str(found.facilitator_key)) == (None, "gas.key")


def test_half_a_flag_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: --pay-t" in refused(capsys, "--pay-t", ADDRESS)


def test_a_wrong_flag_is_told_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings("--prot", "1")
    assert capsys.readouterr().err.splitlines() == [
        "run_coordinator.py --help tells all flags.",
        "run_coordinator.py: error: unrecognized arguments: --prot 1",
    ]


@pytest.mark.parametrize("flag", ["--facilitator-key", "--key"])
def test_a_key_in_place_of_its_file_is_not_repeated(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    said = refused(capsys, flag, "ab" * 32)
    assert "a key and not a file" in said
    assert "abab" not in said
