"""The actor that decides whether a job must be paid for before it is stored."""

from __future__ import annotations

from enum import Enum
from typing import Any

from compute_router.actors.messages import Admit
from compute_router.actors.runtime import LoopActor, OnDeath
from compute_router.protocol.errors import ConfigurationError


class PaymentMode(Enum):
    """Whether commits are paid for."""

    OFF = "off"
    ON = "on"


class PaymentGate(LoopActor):
    """Lets every job in, because payments are off. Asked for payments, it refuses to start."""

    def __init__(self, on_death: OnDeath, mode: PaymentMode) -> None:
        if mode is PaymentMode.ON:
            raise ConfigurationError(
                "Payments are not part of this version: start with --payments off, and every job is free."
            )
        super().__init__(on_death)

    def on_receive(self, message: Any) -> None:
        match message:
            case Admit():
                return
            case _:
                raise TypeError(f"PaymentGate cannot handle {message!r}")
