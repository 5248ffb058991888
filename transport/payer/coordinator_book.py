"""The book of payouts at a running coordinator, asked over HTTP with an admin key."""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from compute_router.protocol.errors import PayoutConflictError, UnavailableError
from compute_router.protocol.payout_api import (
    PayoutBatchRequest,
    PayoutPlan,
    PayoutStepRequest,
)
from compute_router.protocol.units import MicroUsd

T = TypeVar("T")

_SECONDS: Final = 10.0
_CONFLICT: Final = PayoutConflictError.http_status


class BookError(UnavailableError):
    """The coordinator cannot be asked, refuses, or answers nonsense. A step may have been taken or not."""

    code = "payout_book_unavailable"


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    message: str = ""


class CoordinatorBook:
    """Implements :class:`~compute_router.transport.payer.ports.Book`. Close it, or use ``async with``."""

    def __init__(self, url: str, api_key: str, network: str) -> None:
        """``network`` is the CAIP-2 id of the chain that the coordinator must serve."""
        self._network = network
        # A URL may hold a password.
        self._place = urlsplit(url).netloc.rpartition("@")[2]
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=_SECONDS,
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> CoordinatorBook:
        return self

    async def __aexit__(self, *about: object) -> None:
        await self._client.aclose()

    async def plan(self, threshold: MicroUsd, limit: int) -> PayoutPlan:
        """Who would be paid now, and what is open.

        Raises:
            BookError: there is no answer, or it is about another chain.
        """
        address = f"/v1/payouts?threshold={threshold}&limit={limit}"
        plan = _read(await self._call("GET", address), PayoutPlan)
        if plan.network != self._network:
            raise BookError(f"The coordinator serves {plan.network[:64]}, not {self._network}.")
        return plan

    async def record(self, threshold: MicroUsd, limit: int) -> None:
        """Record a payout for each worker that would be paid now.

        Raises:
            BookError: there is no answer.
        """
        await self._call("POST", "/v1/payouts", PayoutBatchRequest(threshold, limit))

    async def step(self, payout_id: str, taken: PayoutStepRequest) -> bool:
        """Take a step of a payout, durably. False: it is not where the step begins.

        Raises:
            BookError: there is no answer.
        """
        answer = await self._call("POST", f"/v1/payouts/{payout_id}", taken, may_conflict=True)
        return answer.status_code != _CONFLICT

    async def _call(
        self, method: str, address: str, body: msgspec.Struct | None = None, *, may_conflict: bool = False
    ) -> httpx.Response:
        try:
            answer = await self._client.request(
                method,
                address,
                content=None if body is None else msgspec.json.encode(body),
                headers={"Content-Type": "application/json"} if body is not None else {},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BookError(
                f"The coordinator at {self._place} cannot be asked ({type(error).__name__}). Is it running,"
                " and is --url its address?"
            ) from None
        if answer.is_success:
            return answer
        refusal = _refusal(answer)
        # A proxy's 409 says nothing about the payout.
        if may_conflict and answer.status_code == _CONFLICT and refusal.error == PayoutConflictError.code:
            return answer
        raise BookError(f"The coordinator answered {answer.status_code}: {refusal.message[:200]}")


def _read(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BookError("The coordinator answered with what cannot be read.") from None


def _refusal(answer: httpx.Response) -> _Refusal:
    try:
        return msgspec.json.decode(answer.content, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Refusal("", "")
