"""Files of keys that move money: each chain's form, and no key for or from anybody else."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from compute_router.protocol.chain_key_file import read_chain_key
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.key_likeness import looks_like_key
from compute_router.protocol.networks import Chain

EVM = "1f" * 32
SOLANA = json.dumps(list(range(64)))


def key_file(directory: Path, content: str, mode: int = 0o600) -> Path:
    path = directory / "some.key"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [EVM, "0x" + EVM, EVM.upper() + "\n"])
def test_an_evm_key_is_hex_with_or_without_0x(tmp_path: Path, content: str) -> None:
    assert read_chain_key(key_file(tmp_path, content), Chain.MONAD) == bytes.fromhex(EVM)


def test_a_solana_keypair_is_a_list_of_64_bytes(tmp_path: Path) -> None:
    assert read_chain_key(key_file(tmp_path, SOLANA), Chain.SOLANA) == bytes(range(64))


@pytest.mark.parametrize(
    ("chain", "content"),
    [
        (Chain.MONAD, ""),
        (Chain.MONAD, EVM[:-2]),
        (Chain.MONAD, SOLANA),
        (Chain.SOLANA, EVM),
        (Chain.SOLANA, "[1,2,3]"),
        (Chain.SOLANA, json.dumps([256] * 64)),
        (Chain.SOLANA, json.dumps([-1] * 64)),
    ],
)
def test_what_is_no_key_of_the_chain_is_refused_and_not_quoted(
    tmp_path: Path, chain: Chain, content: str
) -> None:
    with pytest.raises(ConfigurationError, match="holds no key of this chain") as refused:
        read_chain_key(key_file(tmp_path, content), chain)
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_chain_key(key_file(tmp_path, EVM, mode), Chain.MONAD)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_chain_key(tmp_path / "none", Chain.MONAD)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_chain_key(tmp_path, Chain.MONAD)


KEYS_FOR_PATHS = [
    EVM,
    "0x" + EVM,
    "0X" + EVM.upper(),
    f" {EVM}\n",
    f'"{EVM}"',
    EVM[:-1],
    EVM * 2,
    SOLANA,
    SOLANA.replace(" ", "").strip("]"),
    SOLANA.strip("[]"),
    "4" * 88,
    " ".join(["abandon"] * 11 + ["about"]),
    "crk_abcdefghijkl_0123",
]


@pytest.mark.parametrize("key", KEYS_FOR_PATHS)
@pytest.mark.parametrize("read", [partial(read_chain_key, chain=Chain.MONAD), load_or_create_key])
def test_a_key_in_place_of_a_path_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="a key and not a file") as refused:
        read(Path(key))
    assert key.strip('" \n') not in told_by(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "wallet-monad.key",
        "id.json",
        "my wallet for gas",
        "deadbeef" * 4,
        "keys/" + EVM,
        "crk_keys/admin",
        "[keys]/admin",
    ],
)
def test_names_of_files_are_not_taken_for_keys(name: str) -> None:
    assert not looks_like_key(name)


def told_by(error: BaseException) -> str:
    """All that a program could print of an error and of those behind it."""
    behind = [each for each in (error.__cause__, error.__context__) if each is not None]
    return "".join(
        [
            str(error),
            repr(error),
            repr(vars(error)),
            *traceback.format_exception(error),
            *map(told_by, behind),
        ]
    )
