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
from compute_router.protocol.payment_offer import (
    PAYMENT_HEADER,
    PAYMENT_HEADER_V1,
    REQUIRED_HEADER,
    RESPONSE_HEADER,
    RESPONSE_HEADER_V1,
    V1_NETWORK_NAMES,
)
from compute_router.sdk.demo_processes import DemoFailedError

PAYMENT_HEADERS: Final = {2: PAYMENT_HEADER, 1: PAYMENT_HEADER_V1}
"""The header that a payment goes into, by the version of x402."""

_RESPONSE_HEADERS: Final = {2: RESPONSE_HEADER, 1: RESPONSE_HEADER_V1}
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

        network = NETWORKS[chain].caip2
        newer, older = _schemes(chain, wallet, rpc_url)
        self._client = x402ClientSync()
        self._client.register(network, newer)
        self._client.register_v1(V1_NETWORK_NAMES[network], older)
        self._http = httpx.Client(base_url=url, timeout=_WAIT_S + 10, trust_env=False)

    def __enter__(self) -> X402Seeker:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def run(self, endpoint: str, job: dict[str, Any], version: int) -> PaidJob:
        """Ask for the price, sign by this version of x402 (1 or 2), commit, and wait for the end.

        Raises:
            DemoFailedError: the coordinator did not answer as it should.
        """
        from x402.http.utils import encode_payment_signature_header

        try:
            asked = self._http.post(endpoint, json=job)
            if asked.status_code != 402:
                raise _unexpected("a job without payment", asked)
            signed = encode_payment_signature_header(
                self._client.create_payment_payload(_required(asked, version))
            )
            committed = self._http.post(endpoint, json=job, headers={PAYMENT_HEADERS[version]: signed})
            if committed.status_code != 201:
                raise _unexpected("a job with payment", committed)
            return self._end(msgspec.json.decode(committed.content, type=CommitAnswer).job_id, version)
        except httpx.HTTPError as error:
            raise DemoFailedError(f"The coordinator did not answer: {type(error).__name__}.") from error

    def _end(self, job_id: str, version: int) -> PaidJob:
        from x402.http.utils import decode_payment_response_header

        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._http.get(f"/v1/jobs/{job_id}", params={"wait": _WAIT_S})
            if answer.status_code != 200:
                raise _unexpected("a look at a job", answer)
            job = msgspec.json.decode(answer.content, type=PaidJob)
            if job.status in FINAL:
                settled = decode_payment_response_header(
                    answer.headers.get(_RESPONSE_HEADERS[version], "e30=")
                )
                if not settled.success or settled.transaction != job.payment.transaction_ref:
                    raise _unexpected("a finished job, in its header,", answer)
                return job
            if time.monotonic() > deadline:
                raise DemoFailedError(f"The job {job_id} is not finished after {_PATIENCE_S:g} s.")


def _required(asked: httpx.Response, version: int) -> Any:
    """What a 402 asks for: of version 2 in a header, of version 1 in the body."""
    from x402.http.utils import decode_payment_required_header
    from x402.schemas.v1 import PaymentRequiredV1

    if version == 1:
        return PaymentRequiredV1.model_validate_json(asked.content)
    return decode_payment_required_header(asked.headers[REQUIRED_HEADER])


def _schemes(chain: Chain, wallet: Path, rpc_url: str) -> tuple[Any, Any]:
    """What signs by version 2 of x402, and what signs by version 1."""
    key = wallet.read_text("utf-8").strip()
    if chain is Chain.MONAD:
        from eth_account import Account
        from x402.mechanisms.evm import EthAccountSigner
        from x402.mechanisms.evm.exact import ExactEvmClientScheme
        from x402.mechanisms.evm.exact.v1.client import ExactEvmSchemeV1

        account = EthAccountSigner(Account.from_key(key))
        return ExactEvmClientScheme(account), ExactEvmSchemeV1(account)
    # The solana package tells of its next version, here and at the first request.
    warnings.filterwarnings("ignore", message=".* is deprecated", category=FutureWarning)
    from x402.mechanisms.svm import KeypairSigner
    from x402.mechanisms.svm.exact import ExactSvmClientScheme
    from x402.mechanisms.svm.exact.v1.client import ExactSvmSchemeV1

    keypair = KeypairSigner.from_bytes(bytes(json.loads(key)))
    return ExactSvmClientScheme(keypair, rpc_url), ExactSvmSchemeV1(keypair, rpc_url)


def _unexpected(what: str, answer: httpx.Response) -> DemoFailedError:
    return DemoFailedError(f"The coordinator answered {what} with {answer.status_code}: {answer.text[:300]}")
