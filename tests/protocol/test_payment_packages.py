"""The sentence about packages of payments that are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.payment_packages import install_command, payment_packages

ROOT: Final = Path(__file__).parents[2]


def test_in_a_checkout_the_command_installs_the_checkout() -> None:
    assert install_command() == f"{sys.executable} -m pip install -e '{ROOT}[payments]'"


def test_elsewhere_the_command_installs_the_package(tmp_path: Path) -> None:
    assert install_command(tmp_path) == f"{sys.executable} -m pip install 'compute-router[payments]'"
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = another\n")
    assert install_command(tmp_path) == f"{sys.executable} -m pip install 'compute-router[payments]'"


def test_a_slip_of_our_own_is_no_missing_package() -> None:
    with pytest.raises(ImportError), payment_packages():
        raise ImportError("cannot import", name="compute_router.protocol.units")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"not installed \(x402\.http\)"), payment_packages():
        raise ModuleNotFoundError("No module named 'x402.http'", name="x402.http")
