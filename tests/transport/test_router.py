"""Which resource serves a path."""

from __future__ import annotations

import pytest

from compute_router.protocol.errors import MethodNotAllowedError, NotFoundError
from compute_router.transport.http_types import Answer, Request
from compute_router.transport.router import Router


async def fixed(request: Request, variable: str) -> Answer:
    return Answer(200, b"fixed")


async def variable_get(request: Request, variable: str) -> Answer:
    return Answer(200, b"get")


async def variable_delete(request: Request, variable: str) -> Answer:
    return Answer(200, b"delete")


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add("POST", "/jobs/new", fixed)
    router.add("GET", "/jobs/*", variable_get)
    router.add("DELETE", "/jobs/*", variable_delete)
    return router


def test_an_exact_path_goes_before_a_variable_one(router: Router) -> None:
    assert router.find("POST", "/jobs/new") == (fixed, "")


def test_the_last_segment_is_the_variable_decoded(router: Router) -> None:
    assert router.find("GET", "/jobs/a%2Fb%20c") == (variable_get, "a/b c")
    assert router.find("DELETE", "/jobs/x") == (variable_delete, "x")


def test_head_is_served_as_get(router: Router) -> None:
    assert router.find("HEAD", "/jobs/x") == (variable_get, "x")


@pytest.mark.parametrize("path", ["", "/", "/jobs", "/jobs/", "/jobs/a/b", "/Jobs/a", "jobs/a"])
def test_other_paths_are_not_found(router: Router, path: str) -> None:
    with pytest.raises(NotFoundError):
        router.find("GET", path)
    with pytest.raises(NotFoundError):
        router.allowed(path)


def test_other_methods_are_told_the_allowed_ones(router: Router) -> None:
    with pytest.raises(MethodNotAllowedError) as raised:
        router.find("PUT", "/jobs/x")
    assert raised.value.allowed == router.allowed("/jobs/x") == "DELETE, GET"
    with pytest.raises(MethodNotAllowedError):
        router.find("HEAD", "/jobs/new")
