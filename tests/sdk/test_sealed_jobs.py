"""Sealed PRIVATE jobs: to whom clients seal them, and what they check before they open a result."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

import httpx
import msgspec
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from compute_router.protocol.errors import (
    BadSignatureError,
    ComputeRouterError,
    IdempotencyConflictError,
    OutputHashMismatchError,
    ReceiptJobMismatchError,
    ReceiptKeyMismatchError,
    ReceiptMissingError,
    RequestHashMismatchError,
    SealedUnreadableError,
    UnusableKeyError,
)
from compute_router.protocol.networks import Chain
from compute_router.protocol.receipts import public_key_hex, sha256_hex
from compute_router.protocol.sealing import seal_result
from compute_router.sdk import (
    InvalidArgumentError,
    JobHandle,
    JobTimeoutError,
    LlmJob,
    NoPinnedWorkerError,
    ReplyKey,
    ResultKeyMissingError,
    SealedDowngradeError,
    SealingNotSupportedError,
    TaskJob,
)
from tests.fakes.http_coordinator import (
    JOB_ID,
    PENDING,
    Asked,
    LostAnswer,
    Reply,
    completed,
    failed,
    job_answer,
    refused,
)
from tests.fakes.sealed_coordinator import (
    OUTPUT,
    OWN,
    OWN_KEY,
    SealedCoordinator,
    done,
    honest,
    opened,
    payload_of,
    reply_to,
)
from tests.sdk.clients import FALLBACK, asynchronous, blocking, pinning

SECOND = SigningKey(b"x" * 32)
STRANGER = SigningKey(b"s" * 32)
SECOND_KEY, STRANGER_KEY = public_key_hex(SECOND), public_key_hex(STRANGER)
PROMPT = "tangerine dream"
RESET = httpx.ReadError("reset")


# Sealing


def test_a_private_job_is_sealed_unless_said_otherwise() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        result = router.run_llm(PROMPT, max_tokens=5, model="tiny", privacy="PRIVATE")
    [job] = coordinator.committed
    assert json.loads(opened(job, OWN)) == {"prompt": PROMPT, "max_tokens": 5}
    assert PROMPT.encode() not in coordinator.everything_sent
    assert (result.text, result.verified, result.sealed) == ("a sweet answer", True, True)
    assert result.worker_pubkey == OWN_KEY


def test_the_asyncio_client_seals_too() -> None:
    coordinator = SealedCoordinator()

    async def run() -> str:
        async with pinning(asynchronous(coordinator), OWN_KEY) as router:
            return (await router.run_llm(PROMPT, privacy="PRIVATE")).text

    assert asyncio.run(run()) == "a sweet answer"
    assert PROMPT.encode() not in coordinator.everything_sent


def test_a_task_is_sealed_as_well() -> None:
    output = b'{"sentiment":"positive","confidence":0.5}'
    coordinator = SealedCoordinator(worker=lambda asked: done(asked, seal_result(output, reply_to(asked))))
    with pinning(blocking(coordinator), OWN_KEY) as router:
        assert router.run_task("classify", PROMPT, privacy="PRIVATE").sentiment == "positive"
    assert PROMPT.encode() not in coordinator.everything_sent


def test_the_limit_of_tokens_stays_visible_for_the_lease() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        router.submit(LlmJob(PROMPT, max_tokens=77, privacy="PRIVATE"))
        router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
    limits = [json.loads(payload_of(job)).get("max_tokens") for job in coordinator.committed]
    assert limits == [77, None]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_public_job_is_never_sealed(sealed: bool) -> None:
    coordinator = SealedCoordinator(about_job=[completed(OUTPUT)])
    with pinning(blocking(coordinator), OWN_KEY) as router:
        result = router.run_llm(PROMPT, sealed=sealed)
    assert json.loads(payload_of(coordinator.committed[0])) == {"prompt": PROMPT}
    assert not result.sealed


def test_a_plain_private_job_has_to_be_asked_for() -> None:
    coordinator = SealedCoordinator(about_job=[completed(OUTPUT)])
    with pinning(blocking(coordinator), OWN_KEY) as router:
        router.run_llm(PROMPT, privacy="PRIVATE", sealed=False)
    assert json.loads(payload_of(coordinator.committed[0])) == {"prompt": PROMPT}


def test_each_job_has_a_reply_key_of_its_own() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        for _ in range(3):
            router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
    assert len({reply_to(job) for job in coordinator.committed}) == 3


# To whom


def test_a_job_is_sealed_only_to_workers_that_are_both_listed_and_pinned() -> None:
    coordinator = SealedCoordinator(listed=[OWN_KEY, STRANGER_KEY])
    with pinning(blocking(coordinator), OWN_KEY, SECOND_KEY) as router:
        router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
    [job] = coordinator.committed
    assert list(json.loads(payload_of(job))["keys"]) == [OWN_KEY]
    for key in (SECOND, STRANGER):
        with pytest.raises(SealedUnreadableError):
            opened(job, key)


def test_every_listed_and_pinned_worker_can_open_the_job() -> None:
    coordinator = SealedCoordinator(listed=[SECOND_KEY, OWN_KEY])
    with pinning(blocking(coordinator), OWN_KEY, SECOND_KEY) as router:
        router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
    [job] = coordinator.committed
    assert opened(job, OWN) == opened(job, SECOND)


def test_a_coordinator_that_lists_a_key_of_its_own_gets_nothing_and_the_user_is_told_how_to_pin() -> None:
    coordinator = SealedCoordinator(listed=[STRANGER_KEY])
    with (
        pinning(blocking(coordinator)) as router,
        pytest.raises(NoPinnedWorkerError, match="trust pin") as error,
    ):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert error.value.code == "no_pinned_worker"
    assert coordinator.committed == []


def test_without_any_paired_worker_the_user_is_told_how_to_pair() -> None:
    coordinator = SealedCoordinator(listed=[])
    with (
        pinning(blocking(coordinator), OWN_KEY) as router,
        pytest.raises(NoPinnedWorkerError, match="trust create"),
    ):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert coordinator.committed == []


def test_pins_of_another_user_or_network_do_not_count() -> None:
    coordinator = SealedCoordinator(chain=Chain.MONAD)
    with pinning(blocking(coordinator), OWN_KEY) as router, pytest.raises(NoPinnedWorkerError):
        router.run_llm(PROMPT, privacy="PRIVATE")
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator, user_id="bob"), OWN_KEY) as router, pytest.raises(NoPinnedWorkerError):
        router.run_llm(PROMPT, privacy="PRIVATE")


def test_a_pinned_key_that_nothing_can_be_sealed_to_is_named() -> None:
    bad = "01" + "00" * 31
    coordinator = SealedCoordinator(listed=[bad, OWN_KEY])
    with pinning(blocking(coordinator), bad, OWN_KEY) as router, pytest.raises(UnusableKeyError, match=bad):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert coordinator.committed == []


def test_a_coordinator_without_sealing_gets_nothing_at_all_of_the_job() -> None:
    coordinator = SealedCoordinator(seals=False)
    with (
        pinning(blocking(coordinator), OWN_KEY) as router,
        pytest.raises(SealingNotSupportedError, match="sealed=False") as error,
    ):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert error.value.code == "sealing_not_supported"
    assert coordinator.committed == []


def test_a_coordinator_that_refuses_the_sealed_payload_all_the_same_is_not_sent_a_plain_one() -> None:
    coordinator = SealedCoordinator(commit=refused(400, "invalid_request", message="unknown field sealed"))
    with pinning(blocking(coordinator), OWN_KEY) as router, pytest.raises(ComputeRouterError):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert len(coordinator.committed) == 1
    assert PROMPT.encode() not in coordinator.everything_sent


@pytest.mark.parametrize("reason", ["no_eligible_worker", "attempts_exhausted", "worker_error"])
def test_a_sealed_job_that_failed_goes_to_no_fallback(reason: str) -> None:
    coordinator = SealedCoordinator(about_job=[failed(reason)])
    with (
        pinning(blocking(coordinator, fallback=FALLBACK), OWN_KEY) as router,
        pytest.raises(ComputeRouterError),
    ):
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert coordinator.fallback_asked == []
    assert PROMPT.encode() not in coordinator.everything_sent


def test_text_that_is_not_unicode_is_refused() -> None:
    coordinator = SealedCoordinator()
    with (
        pinning(blocking(coordinator), OWN_KEY) as router,
        pytest.raises(InvalidArgumentError, match="Unicode"),
    ):
        router.run_llm("\ud800", privacy="PRIVATE")
    assert coordinator.committed == []


# Repeating


def test_a_submission_is_repeated_with_the_same_sealed_bytes() -> None:
    coordinator = SealedCoordinator(commit=[LostAnswer(RESET), None])
    with pinning(blocking(coordinator), OWN_KEY) as router:
        assert router.run_llm(PROMPT, privacy="PRIVATE").text == "a sweet answer"
    assert len(coordinator.committed) == 2
    assert len({job.body for job in coordinator.committed}) == 1
    assert len(coordinator.taken) == 1


def test_the_same_call_under_the_same_key_is_the_same_job() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        for _ in range(2):
            result = router.run_llm(PROMPT, privacy="PRIVATE", idempotency_key="order-17")
            assert result.text == "a sweet answer"
    assert len(coordinator.taken) == 1


def test_another_job_under_the_same_key_is_a_conflict() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        router.submit(LlmJob(PROMPT, privacy="PRIVATE"), idempotency_key="order-17")
        with pytest.raises(IdempotencyConflictError):
            router.submit(LlmJob("other", privacy="PRIVATE"), idempotency_key="order-17")


def test_a_client_that_seals_a_job_anew_under_a_used_key_is_told_why_that_is_another_job() -> None:
    coordinator = SealedCoordinator()
    for client in (blocking(coordinator), blocking(coordinator)):
        with pinning(client, OWN_KEY) as router:
            if not coordinator.taken:
                router.submit(LlmJob(PROMPT, privacy="PRIVATE"), idempotency_key="order-17")
                continue
            with pytest.raises(IdempotencyConflictError, match="another client sealed"):
                router.submit(LlmJob(PROMPT, privacy="PRIVATE"), idempotency_key="order-17")
    assert len(coordinator.taken) == 1


# Opening


def test_a_handle_opens_the_result_later() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        handle = router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
        assert handle == JOB_ID
        result = router.result(handle)
    assert (result.output_json, result.sealed) == (OUTPUT, True)


def test_the_job_id_alone_does_not_open_a_sealed_result() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        handle = router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
        with pytest.raises(ResultKeyMissingError) as error:
            router.result(str(handle))
    assert error.value.job_id == JOB_ID


def test_a_handle_can_be_made_again_from_its_parts() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        handle = router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
        saved = msgspec.json.encode(handle.reply_key)
        again = JobHandle(str(handle), msgspec.json.decode(saved, type=ReplyKey))
        assert router.result(again).output_json == OUTPUT


def test_a_job_that_was_given_up_can_be_asked_for_by_the_id_in_the_error() -> None:
    coordinator = SealedCoordinator(about_job=[PENDING])
    with pinning(blocking(coordinator), OWN_KEY) as router:
        with pytest.raises(JobTimeoutError) as late:
            router.run_llm(PROMPT, privacy="PRIVATE", timeout_s=5)
        coordinator.about_job.clear()
        assert router.result(late.value.job_id).output_json == OUTPUT


def test_neither_handle_nor_key_shows_its_secret() -> None:
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        handle = router.submit(TaskJob("classify", PROMPT, privacy="PRIVATE"))
    assert handle.reply_key is not None
    assert handle.reply_key.secret not in f"{handle!r} {handle.reply_key!r} {handle.reply_key}"
    assert re.fullmatch("[0-9a-f]{64}", handle.reply_key.secret)


def test_a_plain_result_of_a_sealed_job_is_a_downgrade_and_not_shown() -> None:
    coordinator = SealedCoordinator(worker=lambda asked: done(asked, OUTPUT))
    with pinning(blocking(coordinator), OWN_KEY) as router, pytest.raises(SealedDowngradeError) as error:
        router.run_llm(PROMPT, privacy="PRIVATE")
    assert error.value.code == "sealed_downgrade"
    assert "sweet" not in str(error.value)


def by_a_stranger(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, reply_to(asked)), STRANGER)


def without_receipt(asked: Asked) -> Reply:
    return job_answer("completed", seal_result(OUTPUT, reply_to(asked)))


def with_the_result_exchanged(asked: Asked) -> Reply:
    signed_output = seal_result(OUTPUT, reply_to(asked))
    return done(asked, seal_result(b'{"text":"a lie"}', reply_to(asked)), signed_output=signed_output)


def for_another_request(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, reply_to(asked)), request_hash=sha256_hex(b"another prompt"))


def for_no_request_in_particular(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, reply_to(asked)), request_hash=None)


def for_another_job(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, reply_to(asked)), job_id="another")


def with_a_forged_signature(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, reply_to(asked)), signature="A" * 86 + "==")


def sealed_to_another_key(asked: Asked) -> Reply:
    return done(asked, seal_result(OUTPUT, PrivateKey.generate().public_key.encode().hex()))


@pytest.mark.parametrize(
    ("worker", "refusal"),
    [
        (without_receipt, ReceiptMissingError),
        (by_a_stranger, ReceiptKeyMismatchError),
        (with_the_result_exchanged, OutputHashMismatchError),
        (for_another_request, RequestHashMismatchError),
        (for_no_request_in_particular, RequestHashMismatchError),
        (for_another_job, ReceiptJobMismatchError),
        (with_a_forged_signature, BadSignatureError),
        (sealed_to_another_key, SealedUnreadableError),
    ],
)
def test_a_result_is_opened_only_with_the_proof_of_a_recipient_for_this_request(
    worker: Callable[[Asked], Reply], refusal: type[ComputeRouterError]
) -> None:
    coordinator = SealedCoordinator(worker=worker)
    with pinning(blocking(coordinator), OWN_KEY) as router, pytest.raises(refusal):
        router.run_llm(PROMPT, privacy="PRIVATE")


def test_the_answer_of_an_older_job_does_not_pass_for_that_of_a_new_one() -> None:
    """Job ids are the coordinator's: it could give two jobs one id, and one job's result to the other."""
    coordinator = SealedCoordinator()
    with pinning(blocking(coordinator), OWN_KEY) as router:
        router.submit(LlmJob(PROMPT, privacy="PRIVATE"))
        old = honest(coordinator.taken[0])
        coordinator.worker = lambda _asked: old
        with pytest.raises(RequestHashMismatchError):
            router.run_llm("another prompt", privacy="PRIVATE")


def test_a_sealed_result_of_a_job_that_was_not_sealed_is_not_taken_for_an_output() -> None:
    sealed = seal_result(OUTPUT, PrivateKey.generate().public_key.encode().hex())
    coordinator = SealedCoordinator(about_job=[completed(sealed)])
    with pinning(blocking(coordinator), OWN_KEY) as router, pytest.raises(ResultKeyMissingError):
        router.run_llm(PROMPT)
