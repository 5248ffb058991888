"""Wallets and paying from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_router.protocol.networks import Chain
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import Wallet
from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import JOB_ID, FakeCoordinator, busy, completed
from tests.fakes.till import PRICE, TOKEN, FakeTill, failed_paid, paid_answer

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
RUN = ["run", "task", "classify", "A wonderful phone."]

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def coordinator() -> FakeCoordinator:
    done = paid_answer(completed(b'{"sentiment":"positive","confidence":0.9}'), chain=Chain.MONAD)
    return FakeCoordinator(about_job=[done], chain=Chain.MONAD, till=FakeTill(Chain.MONAD))


@pytest.fixture
def wallet(tmp_path: Path) -> str:
    path = tmp_path / "wallet.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return str(path)


@pytest.fixture(autouse=True)
def _environment(coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        monkeypatch.setenv("COMPUTE_ROUTER_USER_ID", "alice")
        yield


def till(coordinator: FakeCoordinator) -> FakeTill:
    assert coordinator.till is not None
    return coordinator.till


def test_run_pays_from_a_wallet_and_says_by_which_transaction(
    coordinator: FakeCoordinator, wallet: str, capsys: Capture
) -> None:
    assert main([*RUN, "--wallet", wallet]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out.startswith("positive")
    assert "$0.001 paid by 0xfeed" in captured.err
    assert till(coordinator).payers == [ADDRESS.lower()]
    assert KEY not in captured.out + captured.err


def test_run_says_the_payment_to_programs(coordinator: FakeCoordinator, wallet: str, capsys: Capture) -> None:
    assert main([*RUN, "--wallet", wallet, "--json"]) == ExitCode.OK
    payment = json.loads(capsys.readouterr().out)["payment"]
    assert payment == {
        "state": "settled",
        "amount": PRICE,
        "network": "eip155:10143",
        "transaction_ref": "0xfeed",
    }


def test_run_pays_from_the_wallet_of_the_environment(
    coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET_KEY", KEY)
    assert main([*RUN, "--no-wait"]) == ExitCode.OK
    assert till(coordinator).payers == [ADDRESS.lower()]


def test_run_without_a_wallet_says_how_to_make_one(capsys: Capture) -> None:
    assert main(RUN) == ExitCode.FAILED
    assert "compute-router wallet create --chain monad" in capsys.readouterr().err


@pytest.mark.parametrize("price", ["0.0009", "$0.0009", "0"])
def test_run_pays_no_more_than_it_may(
    coordinator: FakeCoordinator, wallet: str, price: str, capsys: Capture
) -> None:
    assert main([*RUN, "--wallet", wallet, "--max-price", price, "--json"]) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["error"] == "spending_cap"
    assert till(coordinator).payments == []


@pytest.mark.parametrize("price", ["", "x", "-1", "1e3", "nan", "0.0000001"])
def test_a_price_that_is_none_is_a_wrong_command_line(wallet: str, price: str, capsys: Capture) -> None:
    assert main([*RUN, "--wallet", wallet, f"--max-price={price}"]) == ExitCode.USAGE


def test_the_same_command_with_the_same_key_sends_the_same_payment(
    coordinator: FakeCoordinator, wallet: str, capsys: Capture
) -> None:
    again = [*RUN, "--wallet", wallet, "--idempotency-key", "order-7", "--timeout", "1"]
    coordinator.commit = [None, busy(503, "100")]
    assert main(again) == ExitCode.UNREACHABLE
    coordinator.commit = None
    assert main(again) == ExitCode.OK
    payments = {each.headers.get("payment-signature") for each in coordinator.committed} - {None}
    assert (len(payments), len(coordinator.taken)) == (1, 1)


@pytest.mark.parametrize("key", [KEY, "0x" + KEY, KEY[:-1], "[1, 2, 3", json.dumps([1] * 64), "4" * 88])
@pytest.mark.parametrize("words", [RUN, ["wallet", "show"], ["wallet", "create", "--chain", "monad"]])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    words: list[str], key: str, capsys: Capture
) -> None:
    assert main([*words, "--wallet", key]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert key not in captured.out + captured.err


def test_run_says_once_why_it_waits_and_in_the_end_that_this_paid_nothing(
    coordinator: FakeCoordinator, wallet: str, capsys: Capture
) -> None:
    coordinator.commit = [None, busy(503), busy(503), busy(503, "100")]
    assert main([*RUN, "--wallet", wallet, "--timeout", "20"]) == ExitCode.UNREACHABLE
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "This is tried for up to 20 s: Later.",
        "compute-router: Later. This attempt paid nothing.",
    ]


def test_run_says_nothing_of_waiting_to_programs(
    coordinator: FakeCoordinator, wallet: str, capsys: Capture
) -> None:
    coordinator.commit = [None, busy(503), None]
    assert main([*RUN, "--wallet", wallet, "--json"]) == ExitCode.OK
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [RUN, ["status", JOB_ID]])
def test_a_job_that_failed_and_was_not_charged_says_so(
    coordinator: FakeCoordinator,
    wallet: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET", wallet)
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    assert main(words) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert "Nothing was charged." in captured.out + captured.err


@pytest.mark.parametrize("words", [RUN, ["wallet", "show"], ["wallet", "balance", "--json"]])
def test_a_key_in_the_variable_for_the_file_is_refused_and_not_repeated(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET", KEY)
    assert main(words) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert "put it in COMPUTE_ROUTER_WALLET_KEY" in captured.out + captured.err
    assert KEY not in captured.out + captured.err


@pytest.mark.parametrize("chain", ["monad", "solana"])
def test_create_makes_a_wallet_and_prints_its_address(tmp_path: Path, chain: str, capsys: Capture) -> None:
    path = tmp_path / "new" / "my.key"
    assert main(["wallet", "create", "--chain", chain, "--wallet", str(path)]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out.strip() == Wallet.from_file(path).address
    assert str(path) in captured.err
    assert path.read_text().strip() not in captured.out + captured.err
    assert main(["wallet", "create", "--chain", chain, "--wallet", str(path)]) == ExitCode.FAILED


def test_a_wallet_in_a_home_that_nobody_knows_is_one_sentence(capsys: Capture) -> None:
    words = ["--chain", "monad", "--wallet", "~nobody-at-all/wallet.key"]
    assert main(["wallet", "create", *words]) == ExitCode.USAGE
    assert main(["wallet", "show", *words]) == ExitCode.FAILED
    assert capsys.readouterr().err.count("~nobody-at-all/wallet.key names no file") == 2


def test_create_quotes_a_path_that_a_shell_would_take_apart(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "my wallet.key"
    assert main(["wallet", "create", "--chain", "monad", "--wallet", str(path)]) == ExitCode.OK
    assert f"--wallet '{path}'" in capsys.readouterr().err


def test_create_has_a_place_of_its_own_for_each_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["wallet", "create", "--chain", "solana", "--json"]) == ExitCode.OK
    made = json.loads(capsys.readouterr().out)
    assert made["file"] == str(tmp_path / ".config" / "compute-router" / "wallet-solana.key")
    assert (made["chain"], made["network"]) == ("solana", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1")


def test_show_prints_address_and_credit_but_no_token(
    coordinator: FakeCoordinator, wallet: str, capsys: Capture
) -> None:
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    assert main([*RUN, "--wallet", wallet]) == ExitCode.FAILED
    assert "became a credit" in capsys.readouterr().err
    assert main(["wallet", "show", "--wallet", wallet]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{ADDRESS}  Monad testnet\n$0.001 of credit")
    assert TOKEN not in captured.out
    assert KEY not in captured.out


def test_show_without_a_wallet_asks_which(capsys: Capture) -> None:
    assert main(["wallet", "show"]) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "--wallet" in said
    assert "compute-router wallet create" in said


def test_show_looks_for_credits_at_the_coordinator_of_the_wallets_chain(
    wallet: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("COMPUTE_ROUTER_URL")
    assert main(["wallet", "show", "--wallet", wallet]) == ExitCode.OK
    assert capsys.readouterr().out.endswith("at http://127.0.0.1:4010\n")


@pytest.mark.parametrize("action", ["show", "balance"])
def test_a_wallet_of_another_chain_than_asked_for_is_refused(
    wallet: str, action: str, capsys: Capture
) -> None:
    assert main(["wallet", action, "--wallet", wallet, "--chain", "solana"]) == ExitCode.FAILED
    assert "Monad testnet, and not of Solana devnet" in capsys.readouterr().err


@pytest.mark.parametrize("chain", ["monad", "solana"])
def test_create_says_how_jobs_are_run_with_the_new_wallet(
    tmp_path: Path, chain: str, capsys: Capture
) -> None:
    path = tmp_path / "my.key"
    assert main(["wallet", "create", "--chain", chain, "--wallet", str(path)]) == ExitCode.OK
    said = capsys.readouterr().err
    assert f"--chain {chain} --wallet {path}" in said
    assert f"payouts it needs {'MON' if chain == 'monad' else 'SOL'}" in said


def test_balance_asks_the_chain(wallet: str, capsys: Capture) -> None:
    from tools.local_chains.evm import LocalEvm

    with LocalEvm() as chain:
        chain.fund(ADDRESS, MicroUsd(2_500_000))
        words = ["wallet", "balance", "--wallet", wallet, "--rpc-url", chain.rpc_url]
        assert main(words) == ExitCode.OK
        assert capsys.readouterr().out == f"$2.500  USDC of {ADDRESS}\n"
        assert main([*words, "--json"]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out)["micro_usd"] == 2_500_000


def test_balance_through_a_proxy_that_cannot_be_used_is_one_sentence(
    wallet: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    words = ["wallet", "balance", "--wallet", wallet, "--rpc-url", "http://node.example/secret"]
    assert main(words) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "that the environment names" in captured.err
    assert "secret" not in captured.out + captured.err


def test_balance_takes_time(wallet: str, capsys: Capture) -> None:
    assert main(["wallet", "balance", "--wallet", wallet, "--timeout", "0"]) == ExitCode.USAGE
    assert "leaves no time" in capsys.readouterr().err


def test_balance_of_a_node_that_is_away_says_no_url(wallet: str, capsys: Capture) -> None:
    words = ["wallet", "balance", "--wallet", wallet, "--rpc-url", "http://127.0.0.1:9/secret"]
    assert main(words) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err
