"""A coordinator that knows nothing but pairing: owners, codes, workers that come later."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import msgspec

from compute_router.protocol.networks import NETWORKS, Chain
from tests.fakes.http_coordinator import FakeClock

PAIRED_AT = "2026-02-09T12:00:00.000Z"


@dataclass
class PairingCoordinator:
    """``comes`` are keys that pair once the list was asked for so many times. ``issues`` is a token that it
    makes whatever was brought. ``lose`` breaks the connection after so many creates were carried out.
    Without ``wants_keys`` an API key shows nothing. ``signed`` is what it says of every claim.
    """

    chain: Chain = Chain.SOLANA
    owners: dict[str, str] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)
    comes: dict[int, str] = field(default_factory=dict)
    issues: str | None = None
    lose: int = 0
    wants_keys: bool = True
    signed: bool = True
    codes: int = 0
    asked: list[httpx.Request] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [f"{request.method} {request.url.path}" for request in self.asked]

    @property
    def tokens(self) -> list[str | None]:
        """The token that came with each request that makes a code or ends a pairing."""
        changing = [
            each for each in self.asked if each.method == "DELETE" or each.url.path.endswith("/create")
        ]
        headers = [request.headers.get("Authorization") for request in changing]
        return [None if header is None else header.removeprefix("Bearer ") for header in headers]

    def transport(self) -> httpx.MockTransport:
        """An httpx transport that leads here."""
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        match request.method, request.url.path:
            case "GET", "/v1/health":
                health = {"status": "ok", "workers_online": 1, "timestamp": PAIRED_AT}
                return httpx.Response(200, json=health | {"network": NETWORKS[self.chain].caip2})
            case "GET", "/v1/trust/list":
                return self._list(request.url.params["user_id"])
            case "POST", "/v1/trust/create":
                return self._create(request)
            case "DELETE", path:
                return self._revoke(request, path.rpartition("/")[2])
        raise AssertionError(f"nobody asks for {request.url}")

    def _list(self, user_id: str) -> httpx.Response:
        keys = self.listed.setdefault(user_id, [])
        if (key := self.comes.get(self.paths.count("GET /v1/trust/list"))) is not None:
            keys.append(key)
        providers = [{"provider_pubkey": key, "paired_at": PAIRED_AT, "signed": self.signed} for key in keys]
        return httpx.Response(200, json={"providers": providers})

    def _create(self, request: httpx.Request) -> httpx.Response:
        user_id = msgspec.json.decode(request.content)["user_id"]
        first = user_id not in self.owners
        refused = None if first else self._refusal(request, user_id)
        if refused is not None:
            return refused
        answer = {"pairing_code": f"CODE{self.codes}", "expires_at": PAIRED_AT}
        self.codes += 1
        if first:
            self.owners[user_id] = answer["user_token"] = self.issues or (self.tokens[-1] or "")
        if self.lose:
            self.lose -= 1
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(201, json=answer)

    def _revoke(self, request: httpx.Request, pubkey: str) -> httpx.Response:
        user_id = request.url.params["user_id"]
        refused = self._refusal(request, user_id)
        if refused is not None:
            return refused
        if pubkey not in self.listed.get(user_id, []):
            return _error(404, "not_found")
        self.listed[user_id].remove(pubkey)
        answer = {"user_id": user_id, "provider_pubkey": pubkey, "revoked_at": PAIRED_AT}
        return httpx.Response(200, json=answer)

    def _refusal(self, request: httpx.Request, user_id: str) -> httpx.Response | None:
        token = self.tokens[-1]
        if token is None or (token.startswith("crk_") and not self.wants_keys):
            return _error(401, "unauthorized")
        return None if token == self.owners.get(user_id) else _error(403, "forbidden")


def _error(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "message": "No."})
