"""A simulated worker: real key, real proof, real receipts; only the work itself is left out.

Like a worker of ours it says that it gives the same output for the same task, so some of its results are
audited; and it does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec
from nacl.signing import SigningKey

from benchmarks.errors import BenchmarkError
from benchmarks.frames import client_frame
from benchmarks.load_log import Seconds
from benchmarks.websocket_client import WebSocketClient
from benchmarks.worker_log import WorkerLog
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAMES,
    TASKS_V1,
    Challenge,
    ErrorFrame,
    Frame,
    Heartbeat,
    HeldJob,
    JobAck,
    JobAssign,
    JobComplete,
    JobStarted,
    Metrics,
    Register,
    RegisterAck,
    encode_frame,
    registration_message,
)
from compute_router.protocol.receipts import WorkDone, public_key_hex, sha256_hex, sign_base64, sign_receipt
from compute_router.protocol.units import UnixMs

NO_WORK: Final = Seconds(0.0)
ENDLESS_WORK: Final = Seconds(float("inf"))
_METRICS: Final = Metrics(12.5, 40.2, 0)
_OUTPUT: Final = msgspec.json.encode({"sentiment": "positive", "confidence": 0.87})
_OUTPUT_HASH: Final = sha256_hex(_OUTPUT)
_PROVIDER_TYPES: Final = {
    JobType.TASK: ProviderType.SEEKER,
    JobType.LLM_INFER: ProviderType.DESKTOP,
}


class Habits(msgspec.Struct):
    """How the workers of a pool behave; what is changed here holds from the next job or heartbeat on.

    ``work`` is how long a job takes. With ``says_started`` a worker sends ``job_started`` for each job; with
    ``renews`` its heartbeats name the job that it has, which renews the lease. Workers that do not prove
    their key are as those of others may be: they sign only the five keys that every receipt has, and are
    never audited.
    """

    job_type: JobType = JobType.TASK
    work: Seconds = NO_WORK
    says_started: bool = False
    renews: bool = False
    proves: bool = True


class SimulatedWorker:
    """Proves its key, registers, and answers every job with a signed receipt.

    It outlives its connections: what it works on goes on while it is away, and a result stays until the
    server has acknowledged it.
    """

    def __init__(self, habits: Habits, log: WorkerLog) -> None:
        self._habits = habits
        self._log = log
        self._key = SigningKey.generate()
        self._pubkey = public_key_hex(self._key)
        self._plain_heartbeat = client_frame(
            encode_frame(Heartbeat(provider_pubkey=self._pubkey, metrics=_METRICS))
        )
        self._held: dict[str, HeldJob] = {}
        self._results: dict[str, bytes] = {}
        self._socket: WebSocketClient | None = None
        self._registered: asyncio.Future[None] | None = None

    async def connect(self, port: int, source_address: str) -> None:
        """Connect and register.

        Raises:
            BenchmarkError: the server did not let it in.
        """
        loop = asyncio.get_running_loop()
        registered = self._registered = loop.create_future()
        socket = self._socket = WebSocketClient(self._read, self._lost)
        await loop.create_connection(lambda: socket, "127.0.0.1", port, local_addr=(source_address, 0))
        await registered

    def beat(self) -> None:
        """Send a heartbeat, unless the server would not know yet whose it is."""
        if self._registered is not None:
            return
        if self._habits.renews and self._held:
            held = list(self._held.values())
            self._say(Heartbeat(provider_pubkey=self._pubkey, metrics=_METRICS, jobs=held))
        else:
            self._send(self._plain_heartbeat)

    def drop(self) -> None:
        """Drop the connection; jobs go on."""
        if self._socket is not None:
            self._socket.abort()
            self._socket = None

    def _read(self, text: bytes) -> None:
        match COORDINATOR_FRAMES.decode(text):
            case JobAssign() as job:
                self._take(job)
            case JobAck(job_id=job_id, status="accepted"):
                self._results.pop(job_id, None)
                self._held.pop(job_id, None)
                self._log.accepted.add()
            case Challenge(nonce=nonce, network=network):
                self._register(nonce, network)
            case RegisterAck(status="ok"):
                self._let_in()
            case RegisterAck(error=error):
                self._refuse(f"a registration was refused: {error}")
            case JobAck(status=status, reason=reason):
                self._refuse(f"a result was {status}: {reason}")
            case ErrorFrame(code=code, message=message):
                self._refuse(f"the server sent {code}: {message}")

    def _register(self, nonce: str, network: str) -> None:
        register = Register(
            provider_pubkey=self._pubkey,
            provider_type=_PROVIDER_TYPES[self._habits.job_type],
            capabilities=[self._habits.job_type.value],
            agent="benchmark",
            active_jobs=list(self._held.values()),
        )
        if self._habits.proves:
            message = registration_message(network, nonce, self._pubkey)
            signature = sign_base64(self._key, message)
            register = msgspec.structs.replace(
                register, nonce=nonce, signature=signature, features=[TASKS_V1]
            )
        self._say(register)

    def _let_in(self) -> None:
        for result in self._results.values():
            self._send(result)
        if self._registered is not None:
            self._registered.set_result(None)
            self._registered = None

    def _take(self, job: JobAssign) -> None:
        assert job.attempt is not None
        held = self._held[job.job_id] = HeldJob(job.job_id, job.attempt)
        self._log.assigned.add()
        if self._habits.says_started:
            self._say(JobStarted(job.job_id, job.attempt))
        work = self._work_of(job.payload, job.attempt)
        if self._habits.work == NO_WORK:
            self._complete(held, work)
        elif self._habits.work != ENDLESS_WORK:
            loop = asyncio.get_running_loop()
            loop.call_later(self._habits.work, self._finish_work, held, work, time.perf_counter())

    def _work_of(self, payload: msgspec.Raw, attempt: int) -> WorkDone | None:
        """What the receipt says beside its five keys, from what came with the job."""
        if not self._habits.proves:
            return None
        return WorkDone(sha256_hex(bytes(payload)), model=None, model_digest=None, attempt=attempt)

    def _finish_work(self, job: HeldJob, work: WorkDone | None, began: float) -> None:
        self._complete(job, work)
        self._log.held.append(Seconds(time.perf_counter() - began))

    def _complete(self, job: HeldJob, work: WorkDone | None) -> None:
        now = UnixMs(time.time_ns() // 1_000_000)
        signed = sign_receipt(self._key, job.job_id, _OUTPUT, now, work)
        complete = JobComplete(
            job_id=job.job_id,
            output=msgspec.Raw(_OUTPUT),
            output_hash=_OUTPUT_HASH,
            receipt=msgspec.Raw(signed.receipt_json),
            receipt_signature=signed.signature,
            attempt=job.attempt,
        )
        result = self._results[job.job_id] = client_frame(encode_frame(complete))
        if self._registered is None:
            self._send(result)

    def _say(self, frame: Frame) -> None:
        self._send(client_frame(encode_frame(frame)))

    def _send(self, frame: bytes) -> None:
        if self._socket is not None:
            self._socket.send_frame(frame)

    def _lost(self, reason: str) -> None:
        self._socket = None
        if not self._log.closing:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self._log.fail(reason)
        if self._registered is not None:
            self._registered.set_exception(BenchmarkError(reason))
            self._registered = None
