"""Why a chain's node could not be asked, in words that hold neither its URL nor names of classes."""

from __future__ import annotations

import httpx
import requests

from compute_router.protocol.networks import NETWORKS, Chain


def why_not_asked(error: Exception, chain: Chain) -> str:
    """What is wrong with a node that was to be one of ``chain``, after "the node cannot be asked:"."""
    match error:
        case httpx.HTTPStatusError(response=response):
            return f"it answers with HTTP status {response.status_code}"
        case requests.HTTPError(response=requests.Response(status_code=status)):
            return f"it answers with HTTP status {status}"
        case httpx.TimeoutException() | requests.Timeout():
            return "it gives no answer in time"
        case httpx.TransportError() | requests.ConnectionError():
            return "it cannot be reached"
        case _:
            return f"it does not answer like one of {NETWORKS[chain].label}"


def node_problem(error: Exception, chain: Chain) -> str:
    """The same as a whole sentence for the operator."""
    return f"The chain's node cannot be asked: {why_not_asked(error, chain)}. See --rpc-url."
