"""What an operator reads of a chain's node that cannot be asked."""

from __future__ import annotations

import httpx
import pytest
import requests
from web3.exceptions import MethodUnavailable

from compute_router.protocol.networks import Chain
from compute_router.transport.facilitator.node_words import why_not_asked

QUESTION = httpx.Request("POST", "http://node.example/secret")


def answered(status: int) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    return response


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (requests.HTTPError("secret", response=answered(429)), "it answers with HTTP status 429"),
        (
            httpx.HTTPStatusError("secret", request=QUESTION, response=httpx.Response(401)),
            "it answers with HTTP status 401",
        ),
        (requests.ReadTimeout("secret"), "it gives no answer in time"),
        (httpx.ReadTimeout("secret"), "it gives no answer in time"),
        (requests.ConnectionError("secret"), "it cannot be reached"),
        (httpx.ConnectError("secret"), "it cannot be reached"),
        (MethodUnavailable("secret"), "it does not answer like one of Monad testnet"),
        (requests.JSONDecodeError("secret", "", 0), "it does not answer like one of Monad testnet"),
        (KeyError("secret"), "it does not answer like one of Monad testnet"),
    ],
)
def test_each_failure_has_its_words(error: Exception, why: str) -> None:
    assert why_not_asked(error, Chain.MONAD) == why
