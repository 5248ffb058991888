"""Flags and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.jobs import ProviderType
from compute_router.worker.settings import read_settings


def test_without_flags_the_defaults_hold() -> None:
    settings = read_settings([], {})
    assert settings.coordinator == "http://127.0.0.1:4020"
    assert settings.ollama == "http://127.0.0.1:11434"
    assert settings.key == Path.home() / ".compute-router" / "worker.key"
    assert (settings.provider_type, settings.slots) == (ProviderType.DESKTOP, 1)
    assert (settings.pair, settings.model) == (None, None)
    assert settings.drain_limit == 30_000


def test_the_environment_replaces_defaults_and_flags_replace_the_environment() -> None:
    environment = {"COMPUTE_ROUTER_SLOTS": "3", "COMPUTE_ROUTER_TYPE": "seeker"}
    settings = read_settings(["--slots", "5"], environment)
    assert settings.slots == 5
    assert settings.provider_type is ProviderType.SEEKER


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings([], {"COMPUTE_ROUTER_PAIR": ""}).pair is None


def test_other_environment_is_not_read() -> None:
    assert read_settings([], {"OLLAMA_HOST": "http://elsewhere:1"}).ollama == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    "url", ["4020", "ftp://host", "http://", "http://host:x", "http://h:99999", "http://h?q"]
)
def test_an_address_that_cannot_be_used_is_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--coordinator must look like http://host:port"):
        read_settings(["--coordinator", url], {})


@pytest.mark.parametrize("value", ["0", "65", "-1", "two", "1.5", "²"])
def test_slots_out_of_range_are_an_error_from_flag_and_environment(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv, environment in (([f"--slots={value}"], {}), ([], {"COMPUTE_ROUTER_SLOTS": value})):
        with pytest.raises(SystemExit, match="2"):
            read_settings(argv, environment)
        assert "from 1 to 64" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "limit"), [("0", 0), ("5", 5_000), ("86400", 86_400_000)])
def test_the_time_to_drain_is_given_in_seconds(value: str, limit: int) -> None:
    assert read_settings(["--drain-seconds", value], {}).drain_limit == limit
    assert read_settings([], {"COMPUTE_ROUTER_DRAIN_SECONDS": value}).drain_limit == limit


@pytest.mark.parametrize("value", ["-1", "86401", "1.5", "soon", "9" * 5000])
def test_a_time_to_drain_out_of_range_is_an_error(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        read_settings([f"--drain-seconds={value}"], {})
    assert "--drain-seconds" in capsys.readouterr().err


def test_the_slash_at_the_end_of_an_address_is_dropped() -> None:
    assert read_settings(["--coordinator", "https://host/"], {}).coordinator == "https://host"
