"""Addresses of coordinator and Ollama."""

from __future__ import annotations

import pytest

from compute_router.worker.addresses import is_loopback, websocket_url


@pytest.mark.parametrize(
    ("http", "websocket"),
    [
        ("http://127.0.0.1:4020", "ws://127.0.0.1:4020/"),
        ("https://host", "wss://host/"),
        ("http://host/behind", "ws://host/behind/"),
    ],
)
def test_workers_connect_to_the_root_of_the_coordinator(http: str, websocket: str) -> None:
    assert websocket_url(http) == websocket


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost", "http://[::1]:2", "http://127.9.9.9"]
)
def test_addresses_of_this_machine_are_known(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://localhost.example.com", "https://host"])
def test_other_addresses_are_not_this_machine(url: str) -> None:
    assert not is_loopback(url)
