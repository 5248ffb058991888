"""Wallets: where keys come from, that they are never shown, and what a chain says that they have."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.networks import Chain
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import ComputeRouter, Wallet, WalletError
from compute_router.sdk.wallet import new_evm_key, open_wallet
from compute_router.sdk.wallet_balance import balance_of
from compute_router.sdk.wallet_file import create_wallet

EVM_KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
EVM_ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"  # of web3's own documentation
SEED = SigningKey(bytes([9] * 32))
KEYPAIR = json.dumps(list(bytes(SEED) + bytes(SEED.verify_key)))
ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"


def kept(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [EVM_KEY, "0x" + EVM_KEY, EVM_KEY.upper() + "\n"])
def test_a_file_with_a_hex_key_is_a_wallet_on_monad(tmp_path: Path, text: str) -> None:
    wallet = Wallet.from_file(kept(tmp_path / "key", text))
    assert (wallet.chain, wallet.network, wallet.address) == (Chain.MONAD, "eip155:10143", EVM_ADDRESS)


def test_a_file_with_a_keypair_is_a_wallet_on_solana(tmp_path: Path) -> None:
    from solders.keypair import Keypair

    wallet = Wallet.from_file(kept(tmp_path / "id.json", KEYPAIR))
    assert wallet.chain is Chain.SOLANA
    assert wallet.address == str(Keypair.from_json(KEYPAIR).pubkey())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello world",
        EVM_KEY[:-1],
        EVM_KEY + "00",
        "0" * 64,
        ORDER,
        "[1,2]",
        "[300]",
        "[]",
        "{}",
        "[" * 3000,
    ],
)
def test_a_file_without_a_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(WalletError) as caught:
        Wallet.from_file(kept(tmp_path / "key", text))
    assert not text or text not in str(caught.value)


def test_a_keypair_whose_halves_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    mixed = json.dumps(list(bytes(SEED) + bytes(SigningKey(bytes([8] * 32)).verify_key)))
    with pytest.raises(WalletError, match="Solana"):
        Wallet.from_file(kept(tmp_path / "id.json", mixed))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(WalletError, match="chmod 600"):
        Wallet.from_file(kept(tmp_path / "key", EVM_KEY, mode))


def test_a_pipe_or_a_device_is_no_wallet_and_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(WalletError, match=r"not a file|Is a directory"):
            Wallet.from_file(path)


def test_a_link_to_a_wallet_is_a_wallet_and_a_loop_of_links_is_none(tmp_path: Path) -> None:
    kept(tmp_path / "key", EVM_KEY)
    (tmp_path / "link").symlink_to("key")
    (tmp_path / "loop").symlink_to("loop")
    assert Wallet.from_file(tmp_path / "link").address == EVM_ADDRESS
    with pytest.raises(WalletError, match="cannot be read"):
        Wallet.from_file(tmp_path / "loop")


def test_a_file_without_a_key_says_what_a_key_looks_like(tmp_path: Path) -> None:
    with pytest.raises(WalletError, match=r"64 hex characters .* 64 numbers"):
        Wallet.from_file(kept(tmp_path / "key", "hello"))


def test_a_new_wallet_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("elsewhere")
    with pytest.raises(WalletError, match="may hold money"):
        create_wallet(tmp_path / "key", Chain.MONAD)
    assert not (tmp_path / "elsewhere").exists()


def test_no_traceback_of_a_wallet_shows_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eth_account import Account

    def fail(key: bytes) -> None:
        raise ValueError(f"bad key {key.hex()}")

    monkeypatch.setattr(Account, "from_key", fail)
    wallet = Wallet.from_file(kept(tmp_path / "key", EVM_KEY))
    with pytest.raises(WalletError) as caught:
        _ = wallet.address
    assert EVM_KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", [EVM_KEY, "0x" + EVM_KEY, f"{EVM_KEY}\n", KEYPAIR, "4" * 88])
@pytest.mark.parametrize("opened_by", ["argument", "environment"])
def test_a_key_in_place_of_the_file_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str, opened_by: str
) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET", key if opened_by == "environment" else "")
    with pytest.raises(WalletError, match=r"a key and not a file: .*COMPUTE_ROUTER_WALLET_KEY") as caught:
        ComputeRouter(wallet=key if opened_by == "argument" else None)
    error = caught.value
    told = "".join(
        [repr(error), *traceback.format_exception(error), str(error.__cause__), str(error.__context__)]
    )
    assert key.strip() not in told


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WalletError, match="cannot be read: No such file"):
        Wallet.from_file(tmp_path / "key")


def test_a_file_in_a_home_that_nobody_knows_is_one_sentence() -> None:
    with pytest.raises(WalletError, match=r"~nobody-at-all/wallet\.key names no file"):
        Wallet.from_file("~nobody-at-all/wallet.key")


def test_the_environment_names_a_file_or_holds_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_wallet(None) is None
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET_KEY", EVM_KEY)
    monkeypatch.setenv("COMPUTE_ROUTER_RPC_URL", "http://node.example")
    wallet = open_wallet(None)
    assert wallet is not None
    assert (wallet.address, wallet.rpc_url) == (EVM_ADDRESS, "http://node.example")
    assert open_wallet("") is None
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET", str(kept(tmp_path / "id.json", KEYPAIR)))
    with pytest.raises(WalletError, match="not both"):
        open_wallet(None)
    monkeypatch.delenv("COMPUTE_ROUTER_WALLET_KEY")
    wallet = open_wallet(None)
    assert wallet is not None
    assert wallet.chain is Chain.SOLANA


def test_a_key_in_the_environment_that_is_none_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_WALLET_KEY", EVM_KEY[:-1])
    with pytest.raises(WalletError) as caught:
        ComputeRouter("http://coordinator.example")
    assert EVM_KEY[:-1] not in str(caught.value)


def test_a_wallet_shows_its_key_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wallet = Wallet.from_file(kept(tmp_path / "key", EVM_KEY), rpc_url="http://node.example/secret")
    shown = repr(wallet) + str(wallet) + f"{wallet}" + wallet.address + caplog.text
    assert repr(wallet) == "Wallet(monad)"
    assert EVM_KEY not in shown
    assert "secret" not in shown
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(wallet)


@pytest.mark.parametrize("chain", list(Chain))
def test_a_new_wallet_is_its_owners_alone_and_can_be_opened(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "wallets" / "new.key"
    made = create_wallet(path, chain)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert Wallet.from_file(path).address == made.address
    assert create_wallet(tmp_path / "another.key", chain).address != made.address


def test_a_wallet_is_never_written_over(tmp_path: Path) -> None:
    path = kept(tmp_path / "key", EVM_KEY)
    with pytest.raises(WalletError, match="may hold money"):
        create_wallet(path, Chain.SOLANA)
    assert path.read_text() == EVM_KEY


def test_a_write_that_fails_leaves_no_half_of_a_wallet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(WalletError, match="No space left"):
            create_wallet(tmp_path / "key", Chain.MONAD)
    assert list(tmp_path.glob("key")) == []


def test_a_new_key_on_monad_is_one_that_the_curve_has() -> None:
    tried = [bytes(32), bytes.fromhex(ORDER), bytes.fromhex(EVM_KEY)]
    assert new_evm_key(lambda size: tried.pop(0)).hex() == EVM_KEY


def test_a_client_with_a_wallet_loads_no_packages_of_payments_before_it_pays() -> None:
    program = (
        "import sys; from compute_router.sdk import ComputeRouter, Wallet, Chain;"
        "ComputeRouter(wallet=Wallet(Chain.MONAD, bytes([9] * 32))).close();"
        "heavy = {'x402', 'web3', 'eth_account', 'solana', 'solders', 'coincurve'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# Balances


def test_balances_are_read_from_both_chains() -> None:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

    with LocalEvm() as evm:
        wallet = Wallet(Chain.MONAD, bytes.fromhex(EVM_KEY), evm.rpc_url)
        assert balance_of(wallet, 10.0) == 0
        evm.fund(wallet.address, MicroUsd(1_250_000))
        assert balance_of(wallet, 10.0) == 1_250_000
    with LocalSolana() as solana:
        wallet = Wallet(Chain.SOLANA, bytes(json.loads(KEYPAIR)), solana.rpc_url)
        assert balance_of(wallet, 10.0) == 0
        solana.fund(wallet.address, MicroUsd(1_250_000))
        assert balance_of(wallet, 10.0) == 1_250_000


ANSWERS = {
    "another chain": (200, b'{"result":"0x1"}', "another chain"),
    "an error": (200, b'{"error":{"code":-32000,"message":"secret"}}', "no balance"),
    "no JSON": (502, b"<html>secret</html>", "no balance"),
    "nothing": (200, b"", "no balance"),
    "a list": (200, b"[]", "no balance"),
    "too much": (200, b'"' + b"x" * 2_000_000 + b'"', "no balance"),
    "deep": (200, b"[" * 100_000, "no balance"),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)
def test_a_node_that_answers_nonsense_is_one_sentence(chain: Chain, name: str) -> None:
    status, body, said = ANSWERS[name]
    if chain is Chain.SOLANA and name == "another chain":
        said = "no balance"
    key = bytes.fromhex(EVM_KEY) if chain is Chain.MONAD else bytes(json.loads(KEYPAIR))
    wallet = Wallet(chain, key, "http://node.example/?key=secret")
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=body))
    with pytest.raises(WalletError, match=said) as caught:
        balance_of(wallet, 1.0, transport)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)
def test_the_url_of_a_node_is_not_logged(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

    caplog.set_level(logging.DEBUG)
    key = bytes.fromhex(EVM_KEY) if chain is Chain.MONAD else bytes(json.loads(KEYPAIR))
    with LocalEvm() if chain is Chain.MONAD else LocalSolana() as local:
        caplog.clear()
        assert balance_of(Wallet(chain, key, f"{local.rpc_url}/?api-key=secret"), 10.0) == 0
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/secret", "cannot be reached"),
        ("nonsense://secret", "has no usable URL"),
        ("http://[secret", "cannot be reached"),
    ],
)
def test_a_node_that_cannot_be_asked_is_one_sentence_without_its_url(url: str, why: str) -> None:
    wallet = Wallet(Chain.MONAD, bytes.fromhex(EVM_KEY), url)
    with pytest.raises(WalletError, match="--rpc-url") as caught:
        balance_of(wallet, 1.0)
    assert f"node {why}. It must be one of Monad testnet" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_node_that_is_slow_is_told_as_such() -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("secret")

    wallet = Wallet(Chain.MONAD, bytes.fromhex(EVM_KEY), "http://node.example/?key=secret")
    with pytest.raises(WalletError, match="does not answer in time") as caught:
        balance_of(wallet, 1.0, httpx.MockTransport(never))
    assert "secret" not in str(caught.value)
