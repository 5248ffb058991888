"""A simulated seeker: commits with keys, repeats what was not answered, polls, cancels, gives up waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.transport.http_types import Answer
from tests.chaos.journal import Journal
from tests.chaos.purses import Purchase, Purse, UnsignedError

Ask = Callable[[str, str, dict[str, str], bytes], Awaitable[Answer]]
"""Sends a request; a ConnectionError means that the answer will never be known."""

Pause = Callable[[float], Awaitable[None]]
"""Waits about so many seconds, or until it makes sense to try again."""


class SeekersWitness(Protocol):
    """Hears what seekers are told."""

    def was_acknowledged(self, user: str, key: str | None, job_id: str) -> None:
        """A seeker saw a 201."""

    def was_answered(self, job_id: str, view: dict[str, Any], body: bytes) -> None:
        """A seeker saw a job."""


_POLL_SECONDS: Final = 2.0
_EARLY_SECONDS: Final = 10.0
_LOOKS_FOR_MONEY: Final = 100
_GONE: Final = frozenset({503, 429})


class SimSeeker:
    """One user's client."""

    def __init__(
        self,
        user: str,
        ask: Ask,
        rng: random.Random,
        journal: Journal,
        promises: SeekersWitness,
        pause: Pause = asyncio.sleep,
        hurry: float = 1.0,
        purse: Purse | None = None,
    ) -> None:
        self.purse = purse
        self.user = user
        self._pause = pause
        self._hurry = hurry
        self.calm = False
        self._ask = ask
        self._rng = rng
        self._journal = journal
        self._promises = promises
        self._serial = 0
        self._known: list[str] = []

    async def pair(self, pubkey: str) -> None:
        """Pair with a worker's key, before the faults begin."""
        created = await self._ask("POST", "/v1/trust/create", {}, _json({"user_id": self.user}))
        code = msgspec.json.decode(created.body)["pairing_code"]
        claim = {"pairing_code": code, "provider_pubkey": pubkey}
        claimed = await self._ask("POST", "/v1/trust/claim", {}, _json(claim))
        assert claimed.status == 200, claimed.body

    async def come_by_a_credit(self) -> None:
        """Before the faults begin, and while no worker is there: pay for a job early, and cancel it."""
        self.calm = True
        job_id = await self.commit("TASK")
        assert job_id is not None
        for _ in range(_LOOKS_FOR_MONEY):
            view = await self.look(job_id)
            if view is None or view["payment"]["state"] == "settled" or JobStatus(view["status"]) in FINAL:
                break
            await self._pause(_POLL_SECONDS)
        await self.cancel(job_id)
        await self.look(job_id)
        self.calm = False

    async def live(self, jobs: int) -> None:
        """Commit so many jobs one after the other, and follow each to some point."""
        for _ in range(jobs):
            job_id = await self.commit()
            if job_id is None:
                continue
            what = self._rng.random()
            if self.purse and self._rng.random() < 0.5:
                # Until the payment may have been settled though the job is not done.
                await self._pause(_EARLY_SECONDS)
            if what < 0.2:
                await self.cancel(job_id)
            elif what < 0.4:
                await asyncio.gather(self.cancel(job_id), self.look(job_id, wait=True))
            elif what < 0.7:
                await self.look(job_id, wait=self._rng.random() < 0.7)
            # Whoever pays asks what became of his money, and of a credit.
            if self._known and self._rng.random() < (0.7 if self.purse else 0.3):
                await self.look(self._rng.choice(self._known[-3:]))

    async def commit(self, job_type: str | None = None) -> str | None:
        """Commit one job, with a key as a rule, until it is known what became of it; answers its id."""
        body = self._body(job_type or self._rng.choice(["TASK", "LLM_INFER"]))
        key = None
        if self.calm or self._rng.random() < 0.85:
            self._serial += 1
            key = f"{self.user}-{self._serial}"
        self._journal.jobs += 1
        doubles = 2 if key and not self.calm and self._rng.random() < 0.25 else 1
        if doubles == 2:
            self._journal.fault("concurrent commit", key or "")
        # Without a key a commit whose answer is lost leaves it open whether a credit was spent.
        purchase = self.purse.begin(_kind(body), spend=key is not None) if self.purse else None
        answers = await asyncio.gather(
            *(self._commit_until_known(body, key, purchase) for _ in range(doubles))
        )
        known = [job_id for job_id in answers if job_id]
        if purchase is not None and not known:
            purchase.not_taken()
        if key and known and self._rng.random() < 0.15:
            await self._conflict(body, key)
        return known[0] if known else None

    async def _commit_until_known(
        self, body: dict[str, Any], key: str | None, purchase: Purchase | None
    ) -> str | None:
        named = {"Idempotency-Key": key} if key else {}
        headers = named | (purchase.first_headers() if purchase else {})
        path = f"/v1/jobs/commit/{_tier(body)}"
        while True:
            try:
                answer = await self._ask("POST", path, headers, _json(body))
            except ConnectionError:
                answer = None
            if answer is not None and answer.status == 402 and purchase is not None:
                try:
                    headers = named | purchase.paying_headers(answer)
                except UnsignedError:
                    headers = named
                    await self._pause(_POLL_SECONDS)
                continue
            if answer is not None and answer.status not in _GONE:
                break
            if key is None:
                # Whether it was stored cannot be known, and a repetition might run it twice.
                return None
            self._journal.fault("repeated commit", key)
            await self._pause(self._rng.choice([0.0, 0.2, 1.0]))
        if answer.status == 422:
            return None
        self._journal.promise(answer.status == 201, f"a commit was answered {answer.status} {answer.body!r}")
        told = msgspec.json.decode(answer.body)
        job_id = str(told["job_id"])
        if purchase is not None and self.purse is not None:
            purchase.taken(job_id)
            self.purse.is_given(job_id, told["credit_token"])
        self._promises.was_acknowledged(self.user, key, job_id)
        self._journal.note(f"{self.user} has 201 for {job_id[:8]}")
        self._known.append(job_id)
        return job_id

    async def _conflict(self, body: dict[str, Any], key: str) -> None:
        other = body | {"payload": {"task_type": "classify", "input": "another"}, "job_type": "TASK"}
        other.pop("model", None)
        try:
            answer = await self._ask("POST", "/v1/jobs/commit/cheap", {"Idempotency-Key": key}, _json(other))
        except ConnectionError:
            return
        expected = {409, *_GONE}
        self._journal.promise(answer.status in expected, f"another body under {key} got {answer.status}")

    async def cancel(self, job_id: str) -> None:
        """Ask for a job's end, maybe twice."""
        self._journal.fault("cancel", job_id[:8])
        for _ in range(self._rng.choice([1, 1, 2])):
            try:
                answer = await self._ask("DELETE", f"/v1/jobs/{job_id}", {}, b"")
            except ConnectionError:
                continue
            self._journal.promise(
                answer.status in {200, 409, *_GONE}, f"a cancel was answered {answer.status} {answer.body!r}"
            )
            if answer.status == 200:
                view = msgspec.json.decode(answer.body)
                self._journal.promise(view["status"] == "cancelled", f"a cancel was answered {view}")
                self._promises.was_answered(job_id, view, answer.body)
                self._sees(view)

    async def look_at_all(self) -> None:
        """Read every job once more, for the credits that they became."""
        for job_id in self._known:
            await self.look(job_id)

    async def look(
        self, job_id: str, *, wait: bool = False, until_ended: bool = False
    ) -> dict[str, Any] | None:
        """Read a job, with or without a long poll; None if there was no answer."""
        target = f"/v1/jobs/{job_id}" + (
            f"?wait={self._rng.choice([1, 20, 60]) * self._hurry:g}" if wait else ""
        )
        while True:
            try:
                answer = await self._ask("GET", target, {}, b"")
            except ConnectionError:
                answer = None
            if answer is not None and answer.status not in _GONE:
                self._journal.promise(answer.status == 200, f"{job_id} was answered {answer.status}")
                view: dict[str, Any] = msgspec.json.decode(answer.body)
                self._promises.was_answered(job_id, view, answer.body)
                self._sees(view)
                if not until_ended or JobStatus(view["status"]) in FINAL:
                    return view
            elif not until_ended:
                return None
            await self._pause(_POLL_SECONDS)

    def _sees(self, view: dict[str, Any]) -> None:
        if self.purse is not None and "payment" in view:
            self.purse.sees(view["id"], view["payment"])

    def _body(self, job_type: str) -> dict[str, Any]:
        body: dict[str, Any] = {"user_id": self.user}
        if job_type == "TASK":
            body |= {"job_type": "TASK", "payload": {"task_type": "summarize", "input": "A text."}}
        else:
            tokens = self._rng.choice([1, 100, 2000])
            body |= {"job_type": "LLM_INFER", "payload": {"prompt": "Why?", "max_tokens": tokens}}
        if self.calm:
            return body
        if self._rng.random() < 0.2:
            body["privacy_class"] = "PRIVATE"
        if self._rng.random() < 0.2:
            body["ttl_s"] = self._rng.choice([0.001, 2, 120]) * self._hurry
        if self._rng.random() < 0.2:
            body["deadline_s"] = self._rng.choice([0.5, 15, 300]) * self._hurry
        return body


def _tier(body: dict[str, Any]) -> str:
    return "fast" if body["job_type"] == "LLM_INFER" else "cheap"


def _kind(body: dict[str, Any]) -> str:
    """All that the price of a job depends on."""
    return f"{body['job_type']} {_tier(body)}"


def _json(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)
