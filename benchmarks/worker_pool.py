"""Simulated workers: real keys, real proof, real receipts; only the work itself is left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec
from nacl.signing import SigningKey

from benchmarks.errors import BenchmarkError
from benchmarks.frames import FrameReader, Opcode, client_frame
from benchmarks.load_log import Seconds
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAMES,
    Challenge,
    CoordinatorFrame,
    ErrorFrame,
    Heartbeat,
    JobAck,
    JobAssign,
    JobComplete,
    Metrics,
    Register,
    RegisterAck,
    encode_frame,
    registration_message,
)
from compute_router.protocol.receipts import public_key_hex, sha256_hex, sign_base64, sign_receipt
from compute_router.protocol.units import UnixMs

NO_WORK: Final = Seconds(0.0)
HEARTBEAT_INTERVAL: Final = Seconds(10.0)
_TICK: Final = Seconds(0.02)
_CONNECT_TIMEOUT: Final = Seconds(120.0)
_CONNECTING_AT_ONCE: Final = 32
# One client address has 28,000 ports, some of them still blocked by the round before.
_SOURCE_ADDRESSES: Final = tuple(f"127.0.0.{last}" for last in range(2, 10))

_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_HEAD_END: Final = b"\r\n\r\n"
_OUTPUT: Final = msgspec.json.encode({"sentiment": "positive", "confidence": 0.87})
_OUTPUT_HASH: Final = sha256_hex(_OUTPUT)

Result = TypeVar("Result")


class WorkerPool:
    """Any number of workers of one server, kept alive by heartbeats that are spread evenly.

    ``held`` collects how long jobs with work really kept their worker: timers fire a little late.
    """

    def __init__(self, port: int, work: Seconds = NO_WORK) -> None:
        self.work = work
        self.held: list[Seconds] = []
        self.closing = False
        self._port = port
        self._failures: list[str] = []
        self._failed = asyncio.Event()
        self._workers: list[SimulatedWorker] = []
        self._beating: asyncio.Task[None] | None = None

    async def connect(self, count: int) -> None:
        """Connect and register so many more workers; they are ready for jobs when this returns.

        Raises:
            BenchmarkError: a worker was refused, or they were not all registered in time.
        """
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        waiting = iter(range(count))

        async def connect_some() -> None:
            for index in waiting:
                await self._connect_one(_SOURCE_ADDRESSES[index % len(_SOURCE_ADDRESSES)])

        async with asyncio.timeout(_CONNECT_TIMEOUT), asyncio.TaskGroup() as group:
            for _ in range(min(_CONNECTING_AT_ONCE, count)):
                group.create_task(connect_some())
        self.raise_failures()

    async def close(self) -> None:
        """Disconnect all workers."""
        self.closing = True
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        for worker in self._workers:
            worker.close()

    def fail(self, reason: str) -> None:
        """Note that a worker was not treated as it should be."""
        self._failures.append(reason)
        self._failed.set()

    async def guard(self, load: Coroutine[Any, Any, Result]) -> Result:
        """Run a load on the server, but give it up as soon as a worker fails.

        Raises:
            BenchmarkError: something failed.
        """
        running = asyncio.create_task(load)
        failing = asyncio.create_task(self._failed.wait())
        await asyncio.wait((running, failing), return_when=asyncio.FIRST_COMPLETED)
        failing.cancel()
        if self._failures:
            running.cancel()
            await asyncio.wait((running,))
        self.raise_failures()
        return await running

    def raise_failures(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            BenchmarkError: something failed.
        """
        if self._failures:
            raise BenchmarkError(f"{len(self._failures)} worker failures, the first: {self._failures[0]}")

    async def _connect_one(self, source_address: str) -> None:
        loop = asyncio.get_running_loop()
        worker = SimulatedWorker(self, SigningKey.generate())
        await loop.create_connection(lambda: worker, "127.0.0.1", self._port, local_addr=(source_address, 0))
        await worker.registered
        self._workers.append(worker)

    async def _beat(self) -> None:
        """In every tick send the share of the heartbeats that is due, going round the workers."""
        due = 0.0
        next_worker = 0
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            due += (now - last) * len(self._workers) / HEARTBEAT_INTERVAL
            last = now
            while due >= 1.0:
                due -= 1.0
                next_worker = (next_worker + 1) % len(self._workers)
                self._workers[next_worker].beat()


class SimulatedWorker(asyncio.Protocol):
    """One worker: proves its key, registers for TASK, and answers every job with a signed receipt."""

    def __init__(self, pool: WorkerPool, key: SigningKey) -> None:
        self.registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._key = key
        self._pubkey = public_key_hex(key)
        self._heartbeat = client_frame(
            encode_frame(Heartbeat(provider_pubkey=self._pubkey, metrics=Metrics(12.5, 40.2, 0)))
        )
        self._reader = FrameReader()
        self._upgraded = False
        self._head = b""
        self._transport: asyncio.Transport | None = None

    def beat(self) -> None:
        """Send a heartbeat."""
        self._write(self._heartbeat)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        if not isinstance(transport, asyncio.Transport):
            raise BenchmarkError("The event loop gave something that is no stream transport.")
        self._transport = transport
        transport.write(_UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that the server closes is a failure, unless the pool is closing."""
        self._transport = None
        if not self._pool.closing:
            self._refuse(f"the server closed a worker's connection ({exc})")

    def data_received(self, data: bytes) -> None:
        """Read the answer to the upgrade, then frames."""
        if not self._upgraded:
            data = self._read_head(data)
        for opcode, payload in self._reader.feed(data):
            if opcode is Opcode.TEXT:
                self._react(COORDINATOR_FRAMES.decode(payload))
            elif opcode is Opcode.PING:
                self._write(client_frame(payload, Opcode.PONG))

    def _read_head(self, data: bytes) -> bytes:
        """Take the answer to the upgrade off the stream; what remains are frames."""
        self._head += data
        head, end, frames = self._head.partition(_HEAD_END)
        if not end:
            return b""
        if not head.startswith(b"HTTP/1.1 101 "):
            self._refuse(f"no WebSocket: {head[:100]!r}")
        self._upgraded = True
        return frames

    def _react(self, frame: CoordinatorFrame) -> None:
        match frame:
            case JobAssign():
                if self._pool.work:
                    asyncio.get_running_loop().call_later(
                        self._pool.work, self._finish_work, frame, time.perf_counter()
                    )
                else:
                    self._complete(frame)
            case Challenge(nonce=nonce, network=network):
                self._register(nonce, network)
            case RegisterAck(status="ok"):
                self.registered.set_result(None)
            case RegisterAck(error=error):
                self._refuse(f"a registration was refused: {error}")
            case JobAck(status=status, reason=reason) if status != "accepted":
                self._refuse(f"a result was {status}: {reason}")
            case ErrorFrame(code=code, message=message):
                self._refuse(f"the server sent {code}: {message}")

    def _register(self, nonce: str, network: str) -> None:
        register = Register(
            provider_pubkey=self._pubkey,
            provider_type=ProviderType.SEEKER,
            capabilities=[JobType.TASK.value],
            nonce=nonce,
            signature=sign_base64(self._key, registration_message(network, nonce, self._pubkey)),
            agent="benchmark",
        )
        self._write(client_frame(encode_frame(register)))

    def _finish_work(self, job: JobAssign, began: float) -> None:
        self._complete(job)
        self._pool.held.append(Seconds(time.perf_counter() - began))

    def _complete(self, job: JobAssign) -> None:
        signed = sign_receipt(self._key, job.job_id, _OUTPUT, UnixMs(time.time_ns() // 1_000_000))
        result = JobComplete(
            job_id=job.job_id,
            output=msgspec.Raw(_OUTPUT),
            output_hash=_OUTPUT_HASH,
            receipt=msgspec.Raw(signed.receipt_json),
            receipt_signature=signed.signature,
            attempt=job.attempt,
        )
        self._write(client_frame(encode_frame(result)))

    def _write(self, data: bytes) -> None:
        # Without a transport the loss was reported already.
        if self._transport is not None:
            self._transport.write(data)

    def _refuse(self, reason: str) -> None:
        self._pool.fail(reason)
        if not self.registered.done():
            self.registered.set_exception(BenchmarkError(reason))
