"""What the local chains have in common: an address for JSON-RPC, where ``local_`` methods steer them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from compute_router.protocol.units import MicroUsd
from tools.local_chains.faults import Faults
from tools.local_chains.rpc_server import Method, RpcServer


class LocalChain(ABC):
    """A chain on this machine. Close it, or use ``with``.

    ``faults`` is what goes wrong, ``requests`` how often each method was called, ``odd`` what methods answer
    instead of the truth, once each. What is put into ``methods`` carries out a method from then on.
    """

    def __init__(self, methods: Mapping[str, Method], faults: Faults, port: int) -> None:
        self.faults = faults
        controls: dict[str, Method] = {
            "local_fund": lambda address, units: self.fund(address, MicroUsd(units)),
            "local_fundGas": self.fund_gas,
            "local_spend": lambda address, units: self.spend(address, MicroUsd(units)),
            "local_faults": faults.set,
            "local_advance": self.advance,
            "local_release": self.release,
        }
        self._server = RpcServer({**methods, **controls}, faults, port)
        self.methods = self._server.methods
        self.requests = self._server.requests
        self.odd = self._server.odd
        self.rpc_url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    @abstractmethod
    def fund(self, address: str, micro_usd: MicroUsd) -> None:
        """Make new tokens for an address."""

    @abstractmethod
    def fund_gas(self, address: str) -> None:
        """Give an address what its own transactions cost."""

    @abstractmethod
    def spend(self, address: str, micro_usd: MicroUsd) -> None:
        """Move tokens of an address away, as its owner could at any time."""

    @abstractmethod
    def balance(self, address: str) -> MicroUsd:
        """Tokens of an address."""

    @abstractmethod
    def advance(self, seconds: int) -> None:
        """Move the chain's clock ahead."""

    @abstractmethod
    def release(self) -> None:
        """Let held transactions into blocks."""
