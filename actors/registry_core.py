"""Who is connected, as a plain class: socket events in, messages for other actors out."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable

from compute_router.actors.clock import SteadyMs
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import CloseSocket
from compute_router.actors.messages.job_store import KeepReceipt
from compute_router.actors.messages.matcher import (
    LeasesRenewed,
    WorkerDraining,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.messages.stored_earnings import PayoutAddressNamed
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.messages.worker_registry import Deliver, HeartbeatDue, SettleDue
from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.errors import BadSignatureError
from compute_router.protocol.jobs import JobType
from compute_router.protocol.messages import (
    CLOSE_BARRED,
    CLOSE_REPLACED,
    Challenge,
    Drain,
    ErrorFrame,
    Frame,
    Heartbeat,
    HeartbeatAck,
    ReceiptSubmit,
    Register,
    RegisterAck,
    WorkerFrame,
    registration_message,
)
from compute_router.protocol.networks import chain_of
from compute_router.protocol.receipts import verify_signature
from compute_router.protocol.units import DurationMs

logger = logging.getLogger(__name__)

_GOING_AWAY = 1001
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
_MINUTE = 60_000
BARRED = "barred: this key was found to give wrong results; ask the operator of this coordinator"
_JOB_TYPES = {job_type.value: job_type for job_type in JobType}


class _Peer:
    """One socket, and the worker that registered on it."""

    __slots__ = (
        "last_heard", "minute_began", "nonce", "nonce_used", "proved", "proven", "pubkey", "registrations",
    )  # fmt: skip

    def __init__(self, nonce: str, now: SteadyMs) -> None:
        self.nonce = nonce
        self.nonce_used = False
        self.proved: str | None = None
        self.pubkey: str | None = None
        self.proven = False
        self.last_heard = now
        self.minute_began = now
        self.registrations = 0

    def registers(self, now: SteadyMs) -> int:
        """Count a registration; how many there were in this minute."""
        if now - self.minute_began >= _MINUTE:
            self.minute_began, self.registrations = now, 0
        self.registrations += 1
        return self.registrations


class RegistryCore:
    """The live entries: one for each socket, however often it registers and whatever key it names.

    While a connection of a key is proven, it is the only one of that key. Without one there may be several,
    all unproven.
    """

    def __init__(
        self,
        network: str,
        policy: MatchingPolicy,
        new_nonce: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        self._network = network
        self._policy = policy
        self._new_nonce = new_nonce
        self._peers: dict[int, _Peer] = {}
        self._proven_by_key: dict[str, int] = {}
        self._unproven_by_key: dict[str, dict[int, None]] = {}
        self._barred: set[str] = set()
        self._online = 0

    @property
    def online(self) -> int:
        """Number of registered connections."""
        return self._online

    def opened(self, worker_id: int, now: SteadyMs) -> list[Message]:
        """Greet a new socket with a challenge, and give it a time-out to register in."""
        peer = self._peers[worker_id] = _Peer(self._new_nonce(), now)
        return [
            Deliver(worker_id, Challenge(nonce=peer.nonce, network=self._network)),
            self._watch(worker_id, min(self._policy.register_timeout, self._policy.heartbeat_timeout)),
        ]

    def closed(self, worker_id: int) -> list[Message]:
        """Forget a socket."""
        peer = self._peers.pop(worker_id, None)
        if peer is None or peer.pubkey is None:
            return []
        self._sign_off(worker_id, peer)
        return [WorkerOffline(worker_id)]

    def frame(self, worker_id: int, frame: WorkerFrame, now: SteadyMs) -> list[Message]:
        """Act on a well-formed frame."""
        peer = self._peers.get(worker_id)
        if peer is None:
            return []
        if isinstance(frame, Register):
            if peer.registers(now) > self._policy.max_registrations:
                return self._refuse(worker_id, _POLICY_VIOLATION, "too many registrations")
            return self._register(worker_id, peer, frame, now)
        if peer.pubkey is None:
            return [Deliver(worker_id, ErrorFrame("NOT_REGISTERED", "Register before anything else."))]
        peer.last_heard = now
        if isinstance(frame, Heartbeat):
            return self._heartbeat(worker_id, peer, frame)
        if isinstance(frame, ReceiptSubmit):
            return [KeepReceipt(worker_id, peer.pubkey, bytes(frame.receipt), frame.signature)]
        if isinstance(frame, Drain):
            return [WorkerDraining(worker_id)]
        return [WorkerSaid(worker_id, peer.pubkey, peer.proven, frame)]

    def heartbeat_due(self, worker_id: int, now: SteadyMs) -> list[Message]:
        """Drop a socket that has been silent; otherwise look again when it could be."""
        peer = self._peers.get(worker_id)
        if peer is None:
            return []
        silent_for = now - peer.last_heard
        if peer.pubkey is None:
            limit, reason = self._policy.register_timeout, "not registered in time"
        else:
            limit, reason = self._policy.heartbeat_timeout, "no heartbeat"
        if silent_for < limit:
            return [self._watch(worker_id, DurationMs(limit - silent_for))]
        logger.info("worker connection %d was silent for %d ms and is dropped", worker_id, silent_for)
        return self._refuse(worker_id, _POLICY_VIOLATION, reason)

    def keep_out(self, pubkeys: Iterable[str]) -> None:
        """Let these keys not register."""
        self._barred.update(pubkeys)

    def bar(self, pubkey: str, reason: str) -> list[Message]:
        """Close every connection of a key, and let it not register from now on."""
        self._barred.add(pubkey)
        # All are looked through, because barring is rare.
        theirs = [worker_id for worker_id, peer in self._peers.items() if peer.pubkey == pubkey]
        return [
            message
            for worker_id in theirs
            for message in self._refuse(worker_id, CLOSE_BARRED, f"barred: {reason}")
        ]

    def tell(self, pubkey: str, frame: Frame) -> list[Message]:
        """Send a frame to the holder of a key, if it is connected."""
        worker_id = self._proven_by_key.get(pubkey)
        return [] if worker_id is None else [Deliver(worker_id, frame)]

    def settle_due(self, worker_id: int) -> list[Message]:
        """A worker that did not prove itself has had time to listen."""
        peer = self._peers.get(worker_id)
        return [WorkerSettled(worker_id)] if peer is not None and peer.pubkey is not None else []

    def close_all(self) -> list[Message]:
        """Say goodbye to every socket and forget it.

        Nobody is told that the workers are offline: their jobs stay theirs, for the next start to take up.
        """
        goodbyes: list[Message] = [
            CloseSocket(worker_id, _GOING_AWAY, "coordinator stops") for worker_id in self._peers
        ]
        self._peers.clear()
        self._proven_by_key.clear()
        self._unproven_by_key.clear()
        self._online = 0
        return goodbyes

    def _register(self, worker_id: int, peer: _Peer, frame: Register, now: SteadyMs) -> list[Message]:
        problem, proven = self._judge(peer, frame)
        if problem is not None:
            return [Deliver(worker_id, RegisterAck("error", error=problem))]
        out: list[Message] = []
        if proven:
            out += self._make_way(worker_id, frame.provider_pubkey)
        elif frame.provider_pubkey in self._proven_by_key:
            refusal = RegisterAck("error", error="another connection has proved that it holds this key")
            return [
                Deliver(worker_id, refusal),
                *self._refuse(worker_id, _POLICY_VIOLATION, "not the holder of this key"),
            ]
        if peer.pubkey is None and self._online >= self._policy.max_workers:
            # No answer of ours: a worker that is refused does not come again, and this one should.
            return [*out, *self._refuse(worker_id, _TRY_AGAIN_LATER, "too many workers; try again later")]
        if peer.pubkey is not None:
            self._sign_off(worker_id, peer)
        peer.last_heard = now
        self._sign_on(worker_id, peer, frame.provider_pubkey, proven=proven)
        out.append(Deliver(worker_id, RegisterAck("ok", worker_id=str(worker_id))))
        out.append(
            WorkerOnline(
                worker_id,
                frame.provider_pubkey,
                frame.provider_type,
                frozenset(_JOB_TYPES[name] for name in frame.capabilities if name in _JOB_TYPES),
                tuple(model.name for model in frame.models),
                frame.slots,
                proven,
                tuple(frame.active_jobs),
                frame.instance,
                frozenset(frame.features),
            )
        )
        if proven and frame.payout_address is not None:
            address = checked_address(chain_of(self._network), frame.payout_address)
            out.append(PayoutAddressNamed(frame.provider_pubkey, address))
        if not proven:
            key = f"settle:{worker_id}"
            out.append(SetTimer(key, self._policy.settle_delay, SettleDue(worker_id)))
        return out

    def _judge(self, peer: _Peer, frame: Register) -> tuple[str | None, bool]:
        """What is wrong with a registration, if anything, and whether its key is proven."""
        if frame.provider_pubkey in self._barred:
            return BARRED, False
        if not any(name in _JOB_TYPES for name in frame.capabilities):
            return "capabilities name no job type that this coordinator knows", False
        already = peer.proved == frame.provider_pubkey
        if frame.nonce is None and frame.signature is None:
            if already and frame.payout_address is not None:
                return "the payout address is not signed", False
            return None, already
        if frame.nonce != peer.nonce:
            return "the nonce is not the one of this connection's challenge", False
        if peer.nonce_used and not already:
            return "the nonce of this connection's challenge was used before", False
        peer.nonce_used = True
        message = registration_message(self._network, peer.nonce, frame.provider_pubkey, frame.payout_address)
        try:
            verify_signature(frame.provider_pubkey, message, frame.signature or "")
            if frame.payout_address is not None:
                checked_address(chain_of(self._network), frame.payout_address)
        except BadSignatureError as error:
            return str(error), False
        except AddressError as error:
            return f"payout address: {error}", False
        peer.proved = frame.provider_pubkey
        return None, True

    def _make_way(self, worker_id: int, pubkey: str) -> list[Message]:
        """The holder of a key is here: close its earlier connection, and those that only name the key."""
        out = []
        earlier = self._proven_by_key.get(pubkey)
        if earlier is not None and earlier != worker_id:
            out += self._refuse(earlier, CLOSE_REPLACED, "replaced by a newer connection of this key")
        for pretender in list(self._unproven_by_key.get(pubkey, ())):
            if pretender != worker_id:
                out += self._refuse(pretender, _POLICY_VIOLATION, "not the holder of this key")
        return out

    def _refuse(self, worker_id: int, code: int, reason: str) -> list[Message]:
        """Forget a socket and have it closed."""
        return [*self.closed(worker_id), CloseSocket(worker_id, code, reason)]

    def _sign_on(self, worker_id: int, peer: _Peer, pubkey: str, *, proven: bool) -> None:
        self._online += 1
        peer.pubkey, peer.proven = pubkey, proven
        if proven:
            self._proven_by_key[pubkey] = worker_id
        else:
            self._unproven_by_key.setdefault(pubkey, {})[worker_id] = None

    def _sign_off(self, worker_id: int, peer: _Peer) -> None:
        assert peer.pubkey is not None
        self._online -= 1
        if peer.proven:
            del self._proven_by_key[peer.pubkey]
            return
        others = self._unproven_by_key[peer.pubkey]
        del others[worker_id]
        if not others:
            del self._unproven_by_key[peer.pubkey]

    def _heartbeat(self, worker_id: int, peer: _Peer, frame: Heartbeat) -> list[Message]:
        if frame.provider_pubkey != peer.pubkey:
            return [
                Deliver(worker_id, ErrorFrame("WRONG_KEY", "This socket registered another provider key."))
            ]
        ack = Deliver(worker_id, HeartbeatAck("ok"))
        return [ack, LeasesRenewed(worker_id, tuple(frame.jobs))] if frame.jobs else [ack]

    @staticmethod
    def _watch(worker_id: int, delay: DurationMs) -> SetTimer:
        return SetTimer(f"heartbeat:{worker_id}", delay, HeartbeatDue(worker_id))
