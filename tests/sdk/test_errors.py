"""What a program catches: the errors of ``compute_router.sdk``, and no others of the same name."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest

from compute_router import sdk
from compute_router.protocol import errors as protocol_errors
from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk import AsyncComputeRouter, ComputeRouter
from compute_router.sdk.answers import refusal
from compute_router.sdk.steps import Answered

OF_THE_PROTOCOL = [
    kind
    for kind in vars(protocol_errors).values()
    if isinstance(kind, type) and issubclass(kind, ComputeRouterError)
]


@pytest.mark.parametrize("client", [ComputeRouter, AsyncComputeRouter])
def test_every_error_that_a_client_documents_can_be_imported_beside_it(
    client: type[ComputeRouter | AsyncComputeRouter],
) -> None:
    public = [client, *(member for name, member in vars(client).items() if not name.startswith("_"))]
    documented = {name for each in public for name in re.findall(r"\b\w+Error\b", inspect.getdoc(each) or "")}
    assert "JobFailedError" in documented
    assert documented <= set(sdk.__all__)


@pytest.mark.parametrize("kind", OF_THE_PROTOCOL, ids=lambda kind: kind.__name__)
def test_no_answer_raises_an_error_that_has_a_namesake_in_the_sdk(kind: type[ComputeRouterError]) -> None:
    body = msgspec.json.encode({"error": kind.code, "message": "No."})
    raised = type(refusal(Answered(kind.http_status, body)))
    assert getattr(sdk, raised.__name__, raised) is raised


def test_who_catches_an_error_of_the_protocol_gets_the_sdks_too() -> None:
    for kind in OF_THE_PROTOCOL:
        assert issubclass(getattr(sdk, kind.__name__, kind), kind)
