"""A seeker as anybody can write one: plain HTTP and the official x402 client, and nothing of our SDK."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from compute_router.protocol.http_api import CommitAnswer, PaymentAnswer
from compute_router.protocol.job_state import FINAL, JobStatus
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER, REQUIRED_HEADER
from compute_router.sdk.demo_processes import DemoFailedError

_WAIT_S: Final = 20
_PATIENCE_S: Final = 40.0


class PaidJob(msgspec.Struct, frozen=True):
    """A job at its end, and what became of its payment."""

    id: str
    status: JobStatus
    result: Any
    payment: PaymentAnswer


class X402Seeker:
    """Commits jobs to one coordinator and pays what it asks for. To be closed, or used in ``with``."""

    def __init__(self, url: str, chain: Chain, wallet: Path, rpc_url: str) -> None:
        # Imported late: it takes a second.
        from x402 import x402ClientSync

        self._client = x402ClientSync()
        self._client.register(NETWORKS[chain].caip2, _scheme(chain, wallet, rpc_url))
        self._http = httpx.Client(base_url=url, timeout=_WAIT_S + 10, trust_env=False)

    def __enter__(self) -> X402Seeker:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def run(self, endpoint: str, job: dict[str, Any]) -> PaidJob:
        """Ask for the price, sign, commit, and wait for the end.

        Raises:
            DemoFailedError: the coordinator did not answer as it should.
        """
        from x402.http.utils import decode_payment_required_header, encode_payment_signature_header

        asked = self._http.post(endpoint, json=job)
        if asked.status_code != 402:
            raise _unexpected("a job without payment", asked)
        required = decode_payment_required_header(asked.headers[REQUIRED_HEADER])
        signed = encode_payment_signature_header(self._client.create_payment_payload(required))
        committed = self._http.post(endpoint, json=job, headers={PAYMENT_HEADER: signed})
        if committed.status_code != 201:
            raise _unexpected("a job with payment", committed)
        return self._end(msgspec.json.decode(committed.content, type=CommitAnswer).job_id)

    def _end(self, job_id: str) -> PaidJob:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._http.get(f"/v1/jobs/{job_id}", params={"wait": _WAIT_S})
            if answer.status_code != 200:
                raise _unexpected("a look at a job", answer)
            job = msgspec.json.decode(answer.content, type=PaidJob)
            if job.status in FINAL:
                return job
            if time.monotonic() > deadline:
                raise DemoFailedError(f"The job {job_id} is not finished after {_PATIENCE_S:g} s.")


def _scheme(chain: Chain, wallet: Path, rpc_url: str) -> Any:
    key = wallet.read_text("utf-8").strip()
    if chain is Chain.MONAD:
        from eth_account import Account
        from x402.mechanisms.evm import EthAccountSigner
        from x402.mechanisms.evm.exact import ExactEvmClientScheme

        return ExactEvmClientScheme(EthAccountSigner(Account.from_key(key)))
    # The solana package tells of its next version, here and at the first request.
    warnings.filterwarnings("ignore", message=".* is deprecated", category=FutureWarning)
    from x402.mechanisms.svm import KeypairSigner
    from x402.mechanisms.svm.exact import ExactSvmClientScheme

    return ExactSvmClientScheme(KeypairSigner.from_bytes(bytes(json.loads(key))), rpc_url)


def _unexpected(what: str, answer: httpx.Response) -> DemoFailedError:
    return DemoFailedError(f"The coordinator answered {what} with {answer.status_code}: {answer.text[:300]}")
