"""The node of an EVM chain, as the facilitator asks it: whose fault an error is, the node's or a payment's.

The token asks a payer's own contract about a signature, and that code may do anything: give no reason, run
into an invalid instruction, use up all gas. That is a refusal of this payment. A node that has trouble of its
own says nothing about a payment. Nodes have no common words for either, so the node is asked something that
has nothing to do with the payment: if it can run that, it was the payment.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import requests
from web3.providers import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from compute_router.protocol.networks import Chain
from compute_router.transport.facilitator.attempt import current_attempt
from compute_router.transport.facilitator.node_words import why_not_asked

SEND: Final = RPCEndpoint("eth_sendRawTransaction")
_CALL: Final = RPCEndpoint("eth_call")
_GIVES_BACK_WHAT_IT_GETS: Final = {"to": "0x0000000000000000000000000000000000000004", "data": "0x2a"}
"""A contract that is part of every EVM chain."""

_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_BYTES: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_FORMS: Final = {
    RPCEndpoint("eth_chainId"): _NUMBER,
    RPCEndpoint("eth_gasPrice"): _NUMBER,
    RPCEndpoint("eth_getTransactionCount"): _NUMBER,
    RPCEndpoint("eth_getBalance"): _NUMBER,
    RPCEndpoint("eth_getCode"): _BYTES,
    _CALL: _BYTES,
}
"""What answers look like. One that looks different is no payer's fault."""

_OF_THE_NODE: Final = frozenset({-32700, -32600, -32601, -32005, -32097, 429})
"""Error codes for limits and for what a node does not serve."""


class NotingProvider(HTTPProvider):
    """Tells the attempt when the node could not be asked, which the library would take for a refusal.

    No call may use more gas than a settlement would be given, and no attempt may take longer than it has.
    """

    def __init__(self, url: str, session: requests.Session, seconds: float, gas: int) -> None:
        """``seconds`` is how long one answer may take, ``gas`` what one call may use."""
        super().__init__(url, session=session, exception_retry_configuration=None)
        self._seconds = seconds
        self._gas = hex(gas)

    def get_request_kwargs(self) -> Any:
        """What goes with each request: how long it may still take."""
        return dict(super().get_request_kwargs()) | {"timeout": self._time_left()}

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask the node.

        Raises:
            requests.RequestException: it does not answer, or not in the attempt's time.
            ValueError: it answers nonsense.
        """
        if method == _CALL:
            params = [{"gas": self._gas} | params[0], *params[1:]]
        response = self._ask(method, params)
        if method == _CALL and _is_unclear(response):
            # Once more: what a node has for a moment only is nobody's fault.
            response = self._ask(method, params)
        if method == SEND:
            return response
        if response.get("error"):
            # Only a call can fail by what a contract does.
            if method != _CALL or not self._is_of_the_payment(response):
                current_attempt().trouble = "the node answers with an error"
        elif method in _FORMS and not _FORMS[method].fullmatch(str(response.get("result"))):
            # A library may still make something of it: a nonce far ahead, say, and wait for ever.
            current_attempt().trouble = "the node's answer makes no sense"
            raise ValueError(f"no answer to {method}")
        return response

    def _is_of_the_payment(self, response: RPCResponse) -> bool:
        return _says_revert(response) or (_is_unclear(response) and self._can_run_others())

    def _can_run_others(self) -> bool:
        asked = _GIVES_BACK_WHAT_IT_GETS | {"gas": self._gas}
        return self._ask(_CALL, [asked, "latest"]).get("result") == _GIVES_BACK_WHAT_IT_GETS["data"]

    def _ask(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        try:
            if self._time_left() <= 0:
                raise requests.Timeout("the attempt has no time left")
            return super().make_request(method, params)
        except Exception as error:
            if method != SEND:
                current_attempt().trouble = f"the node cannot be asked: {why_not_asked(error, Chain.MONAD)}"
            raise

    def _time_left(self) -> float:
        until = current_attempt().until
        return self._seconds if until is None else min(self._seconds, until - time.monotonic())


def _says_revert(response: RPCResponse) -> bool:
    return "revert" in str(response["error"]).lower()


def _is_unclear(response: RPCResponse) -> bool:
    """Whether an error is neither surely the contract's nor surely the node's."""
    error: Any = response.get("error")
    if not error or _says_revert(response):
        return False
    return not (isinstance(error, dict) and error.get("code") in _OF_THE_NODE)
