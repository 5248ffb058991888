"""Putting payments together: facilitator, chain and checkout of one coordinator, and their orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from nacl.signing import SigningKey

from compute_router.actors.clock import SystemClock
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.system import Payments, System
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.signed_quotes import PaidAt
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.authorizations import ReadsAuthorizations
from compute_router.transport.payments.chain_readers import open_chain_reader
from compute_router.transport.payments.checkout import Checkout
from compute_router.transport.payments.json_rpc import JsonRpc
from compute_router.transport.payments.local_facilitator import LocalFacilitator
from compute_router.transport.payments.offers import Offers
from compute_router.transport.payments.payments_watch import PaymentsWatch
from compute_router.transport.payments.quotes import Quotes
from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator

if TYPE_CHECKING:
    from compute_router.transport.payments.blockhash_ages import BlockhashAges, KnowsAge
    from compute_router.transport.payments.receiving_account import ReceivingAccount


class PaymentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator chooses.

    ``facilitator`` is a URL; None is one of our own, which signs with ``facilitator_key``.
    """

    chain: Chain
    pay_to: str
    facilitator: str | None
    facilitator_key: Path | None
    rpc_url: str
    fee_bps: int
    max_unsettled: MicroUsd
    max_losses: MicroUsd


class OpenedPayments:
    """Facilitator and chain of a coordinator that is about to start."""

    def __init__(
        self,
        settings: PaymentSettings,
        payments: Payments,
        facilitator: RemoteFacilitator,
        ages: BlockhashAges | None,
        receiver: ReceivingAccount | None,
    ) -> None:
        self.payments = payments
        self._ages = ages
        self._receiver = receiver
        self._settings = settings
        self._facilitator = facilitator
        self._watching: asyncio.Task[None] | None = None

    def checkout(self, system: System, key: SigningKey) -> Checkout:
        """The edge of a started system. From now on health says how the facilitator is."""
        if self._watching is None:
            watch = PaymentsWatch(self._facilitator, self._receiver, system.health)
            self._watching = asyncio.get_running_loop().create_task(watch.run())
        return make_checkout(self._settings, system, key, self._facilitator, self._ages)

    async def stop_watching(self) -> None:
        """End what :meth:`checkout` began."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


def make_checkout(
    settings: PaymentSettings,
    system: System,
    key: SigningKey,
    facilitator: RemoteFacilitator,
    ages: KnowsAge | None = None,
) -> Checkout:
    """The edge of a started system that is paid by its ``payments``."""
    assert system.payments is not None, "a system without payments needs no checkout"
    offers = Offers(settings.chain, settings.pay_to)
    where = PaidAt(offers.network, offers.facts.asset, offers.pay_to)
    return Checkout(
        offers=offers,
        quotes=Quotes(key, where, system.clock),
        authorizations=_authorizations(settings.chain),
        facilitator=facilitator,
        reader=system.payments.chain,
        store=system.store,
        gate=system.gate,
        clock=system.clock,
        secret=bytes(key),
        fee_bps=settings.fee_bps,
        facilitator_at=settings.facilitator or "local",
        health=system.health,
        ages=ages,
    )


@asynccontextmanager
async def open_payments(settings: PaymentSettings) -> AsyncIterator[OpenedPayments]:
    """Open what payments need, and close it at the end. A remote facilitator may be down meanwhile.

    Raises:
        ConfigurationError: the facilitator of our own does not start.
    """
    policy = PaymentPolicy(
        max_unsettled=settings.max_unsettled,
        max_losses=settings.max_losses,
        facilitator_is_own=settings.facilitator is None,
    )
    patience = Patience(settle=policy.answer_timeout / 1000)
    async with contextlib.AsyncExitStack() as stack:
        secret: str | None = None
        if settings.facilitator is None:
            assert settings.facilitator_key is not None, "a facilitator of our own needs a key"
            local = LocalFacilitator(
                settings.chain,
                settings.facilitator_key,
                settings.rpc_url,
                confirm=policy.confirm_timeout,
            )
            await local.start()
            stack.push_async_callback(local.stop)
            url, secret = local.url, local.secret
        else:
            url = settings.facilitator
        facilitator = RemoteFacilitator(url, settings.chain, SystemClock().steady_ms, patience, secret=secret)
        stack.push_async_callback(facilitator.close)
        reader = open_chain_reader(settings.chain, settings.rpc_url)
        stack.push_async_callback(reader.close)
        ages = _blockhash_ages(settings)
        if ages is not None:
            stack.push_async_callback(ages.close)
        receiver = _receiving_account(settings)
        if receiver is not None:
            stack.push_async_callback(receiver.close)
        payments = Payments(facilitator=facilitator, chain=reader, policy=policy)
        opened = OpenedPayments(settings, payments, facilitator, ages, receiver)
        stack.push_async_callback(opened.stop_watching)
        yield opened


def _blockhash_ages(settings: PaymentSettings) -> BlockhashAges | None:
    if settings.chain is not Chain.SOLANA:
        return None
    from compute_router.transport.payments.blockhash_ages import BlockhashAges

    return BlockhashAges(JsonRpc(settings.rpc_url))


def _receiving_account(settings: PaymentSettings) -> ReceivingAccount | None:
    if settings.chain is not Chain.SOLANA:
        return None
    from compute_router.transport.payments.receiving_account import ReceivingAccount

    return ReceivingAccount(
        JsonRpc(settings.rpc_url), settings.pay_to, PAYMENT_NETWORKS[settings.chain].asset
    )


def _authorizations(chain: Chain) -> ReadsAuthorizations:
    if chain is Chain.MONAD:
        from compute_router.transport.payments.evm_authorizations import EvmAuthorizations

        return EvmAuthorizations()
    from compute_router.transport.payments.solana_authorizations import SolanaAuthorizations

    return SolanaAuthorizations(PAYMENT_NETWORKS[chain].authorization_lives)
