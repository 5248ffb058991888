"""Who sends a request, and what that allows. In the ``open`` mode anybody may act for any user."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from compute_router.actors.messages.stored_trust import LoadApiKeys
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.api_keys import KeyScope
from compute_router.protocol.errors import AuthenticationError, PermissionDeniedError
from compute_router.storage.interface import ApiKey
from compute_router.transport.bearer import bearer_token
from compute_router.transport.endpoint_limits import Cost
from compute_router.transport.http_types import Request
from compute_router.transport.key_rates import KeyRates
from compute_router.transport.key_ring import KeyRing
from compute_router.transport.limits import AddressLimits


class AuthMode(Enum):
    """Whether seekers need an API key."""

    OPEN = "open"
    KEYS = "keys"


class Authentication:
    """Answers for every resource who is asking. A caller of None is anybody, in the open mode."""

    def __init__(self, mode: AuthMode, ring: KeyRing, rates: KeyRates) -> None:
        self._open = mode is AuthMode.OPEN
        self._rates = rates
        self.ring = ring

    def caller(self, request: Request) -> ApiKey | None:
        """The key that a request comes with; None in the open mode, where the header is not looked at.

        Raises:
            AuthenticationError: there is none, or it is not valid.
            RateLimitedError: it calls too often.
        """
        return None if self._open else self._key_of(request)

    def admin(self, request: Request) -> ApiKey:
        """The admin key that a request comes with, which is needed in both modes.

        Raises:
            AuthenticationError: there is no key, or it is not valid.
            PermissionDeniedError: it is the key of a user, or nobody can have an admin key yet.
        """
        if self._open and not self.ring.has_admin:
            raise PermissionDeniedError("There is no admin key. Make one on the coordinator's machine.")
        key = self._key_of(request)
        if key.scope is not KeyScope.ADMIN:
            raise PermissionDeniedError("This needs an admin key.")
        return key

    def on_revoked(self, caller: ApiKey | None, end: Callable[[], None]) -> Callable[[], None]:
        """Have ``end`` called when the caller's key is revoked; returns what must be called afterwards."""
        return _nothing if caller is None else self.ring.hold(caller, end)

    def recheck(self, caller: ApiKey | None) -> None:
        """After a wait: is the caller's key still good?

        Raises:
            AuthenticationError: it was revoked meanwhile.
        """
        if caller is not None and self.ring.is_revoked(caller):
            raise _not_valid()

    def _key_of(self, request: Request) -> ApiKey:
        token = bearer_token(request)
        if token is None:
            raise AuthenticationError("An API key is needed: send it as Authorization: Bearer KEY.")
        key = self.ring.find(token)
        if key is None:
            raise _not_valid()
        self._rates.count(key.key_id, Cost(request.cost))
        return key


async def open_authentication(
    system: System, mode: AuthMode, limits: AddressLimits | None = None
) -> Authentication:
    """Authentication with all the keys in the database; from here on it is told of every change itself."""
    rates = KeyRates(limits or AddressLimits(), system.clock.steady_ms)
    return Authentication(mode, KeyRing(await ask(system.store, LoadApiKeys())), rates)


def only_user(caller: ApiKey | None) -> str | None:
    """The one user whose things a caller may see; None: those of everybody."""
    return None if caller is None else caller.user_id


def check_user(caller: ApiKey | None, user_id: str) -> None:
    """Is the caller allowed to act for a user?

    Raises:
        PermissionDeniedError: the key belongs to another user.
    """
    if caller is not None and caller.user_id not in (None, user_id):
        raise PermissionDeniedError("This API key belongs to another user_id.")


def _not_valid() -> AuthenticationError:
    return AuthenticationError("This API key is not valid.", presented=True)


def _nothing() -> None:
    """There is nothing to release."""
