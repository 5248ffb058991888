"""How another actor asks the JobStore."""

from __future__ import annotations

from typing import Any

import pykka

from compute_router.actors.messages.base import Message


class StoreRequest(Message, frozen=True):
    """A request told to the JobStore by another actor; its answer is told back to ``reply_to``."""

    body: Message
    reply_to: pykka.ActorRef[Any] | None = None
