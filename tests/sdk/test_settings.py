from __future__ import annotations

import pytest

from compute_router.sdk import ComputeRouter, InvalidArgumentError
from compute_router.sdk.http import coordinator_options
from compute_router.sdk.settings import is_loopback, private_environment, resolve_settings, trust_file_path

NOTHING: dict[str, str] = {}


def test_without_any_setting_the_local_solana_coordinator_is_used() -> None:
    assert resolve_settings(None, None, None, NOTHING).base_url == "http://127.0.0.1:4020"


@pytest.mark.parametrize(("chain", "port"), [("solana", 4020), ("monad", 4010)])
def test_the_chain_chooses_the_local_coordinator(chain: str, port: int) -> None:
    assert resolve_settings(None, chain, None, NOTHING).base_url == f"http://127.0.0.1:{port}"


def test_an_argument_wins_over_the_environment_and_that_over_the_chain() -> None:
    environ = {"COMPUTE_ROUTER_URL": "http://from.env", "COMPUTE_ROUTER_USER_ID": "eve"}
    assert resolve_settings("http://argument", None, "alice", environ).base_url == "http://argument"
    settings = resolve_settings(None, "monad", None, environ)
    assert (settings.base_url, settings.user_id) == ("http://from.env", "eve")
    assert settings.expected_network == "eip155:10143"


def test_empty_variables_count_as_unset() -> None:
    settings = resolve_settings(None, None, None, {"COMPUTE_ROUTER_URL": "", "COMPUTE_ROUTER_USER_ID": ""})
    assert (settings.base_url, settings.user_id) == ("http://127.0.0.1:4020", None)


def test_the_client_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_URL", "http://from.env/")
    with ComputeRouter() as router:
        assert router.base_url == "http://from.env"


@pytest.mark.parametrize(
    "url", ["localhost:4020", "ftp://host", "http://", "/path", "http://host?x=1", "http://h:x"]
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError):
        resolve_settings(url, None, None, NOTHING)


def test_an_unknown_chain_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="known are solana, monad"):
        resolve_settings(None, "dogecoin", None, NOTHING)


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 257])
def test_a_user_id_that_the_protocol_does_not_take_is_refused(user: str) -> None:
    with pytest.raises(InvalidArgumentError):
        resolve_settings(None, None, user, NOTHING)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:4020", "http://localhost", "http://a.localhost", "http://[::1]:1", "http://127.8.8.8"],
)
def test_no_proxy_stands_between_a_client_and_this_machine(url: str) -> None:
    assert is_loopback(url)
    assert coordinator_options(url)["trust_env"] is False


@pytest.mark.parametrize("url", ["http://10.0.0.1", "https://localhost.example", "http://127.0.0.1.example"])
def test_proxies_of_the_environment_serve_other_machines(url: str) -> None:
    assert not is_loopback(url)
    assert coordinator_options(url)["trust_env"] is True


def test_a_home_that_nobody_knows_is_a_clear_error() -> None:
    with pytest.raises(InvalidArgumentError, match=r"~nobody-at-all/trust\.json names no file"):
        trust_file_path("~nobody-at-all/trust.json")


def test_a_private_environment_keeps_all_but_the_variables_of_this_project() -> None:
    kept = private_environment({"HOME": "/h", "COMPUTE_ROUTER_URL": "http://x", "COMPUTE_ROUTER_KEY": "k"})
    assert kept == {"HOME": "/h", "PYTHONUNBUFFERED": "1"}
