"""One tree of errors over all packages: each package may add to it, and codes stay unambiguous."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from compute_router.protocol.errors import ComputeRouterError

PACKAGES = ["actors", "protocol", "sdk", "storage", "transport", "worker"]


def import_everything() -> None:
    for name in PACKAGES:
        package = importlib.import_module(f"compute_router.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def exceptions_of_ours(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        if child.__module__.startswith("compute_router."):
            yield child
        yield from exceptions_of_ours(child)


import_everything()
ERRORS = sorted(set(exceptions_of_ours(Exception)), key=lambda error: (error.__module__, error.__name__))


def name_of(error: type[Exception]) -> str:
    return f"{error.__module__.removeprefix('compute_router.')}.{error.__name__}"


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_every_error_belongs_to_the_one_tree(error: type[Exception]) -> None:
    assert issubclass(error, ComputeRouterError)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_a_code_is_shared_by_an_error_and_its_base_at_most(error: type[ComputeRouterError]) -> None:
    sharing = [
        other
        for other in ERRORS
        if issubclass(other, ComputeRouterError)
        and other.code == error.code
        and not (issubclass(other, error) or issubclass(error, other))
    ]
    assert not sharing


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_every_http_status_is_one_for_errors(error: type[ComputeRouterError]) -> None:
    assert error.http_status in range(400, 600)
