"""Credits of failed jobs are kept, spent before the wallet is, and never twice."""

from __future__ import annotations

import time

import httpx
import pytest

from compute_router.protocol.networks import Chain
from compute_router.protocol.units import MicroUsd
from compute_router.sdk import (
    JobFailedError,
    JobTimeoutError,
    PaymentPlan,
    PaymentRefusedError,
    SpendingCapError,
    SpendingCaps,
    TaskJob,
    UnexpectedAnswerError,
    Wallet,
)
from compute_router.sdk.purse_file import AwaitedJob, PurseFile
from tests.fakes.http_coordinator import JOB_ID, RUNNING, completed, job_answer, refused
from tests.fakes.till import OTHER_TOKEN, PRICE, TOKEN, failed_paid, paid_answer
from tests.sdk.clients import blocking
from tests.sdk.paying import OUTPUT, classify, sent, shop


def test_a_credit_of_a_failed_job_is_kept_and_spent_first(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="became a credit") as caught:
            classify(router)
        assert caught.value.payment is not None
        assert TOKEN not in repr(caught.value.payment)
        assert router.credits() == [PRICE]
        assert purse.path.stat().st_mode & 0o777 == 0o600
        coordinator.about_job = done
        classify(router)
        assert (router.spent, router.credits()) == (PRICE, [])
    assert sent(coordinator) == ["nothing", "payment", "nothing", "credit"]


def test_a_credit_is_spent_by_another_program_and_without_a_wallet(purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: 5 * PRICE})
    purse.keep_credit(TOKEN, 5 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator) as router:
        classify(router)
        assert router.credits() == [4 * PRICE]
        assert router.spent == 0


def test_a_credit_that_is_seen_again_is_not_counted_again(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
        router.job(JOB_ID)
        assert router.credits() == []


def test_a_credit_that_another_program_spent_gives_way_to_the_next_and_then_to_the_wallet(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, till = shop(credits={})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    purse.keep_credit(OTHER_TOKEN, 2 * PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        assert router.credits() == [PRICE - 1, PRICE - 1]
    assert sent(coordinator) == ["nothing", "credit", "credit", "payment"]
    assert till.signatures == 1


def test_a_credit_whose_answer_was_lost_is_sent_again_and_nothing_else(evm: Wallet, purse: PurseFile) -> None:
    coordinator, till = shop(credits={TOKEN: PRICE})
    coordinator.loses_first_answers = True
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert sent(coordinator) == ["nothing", "credit", "credit"]
    assert (till.payments, len(coordinator.taken)) == ([], 1)


def test_a_credit_is_money_to_the_hook_and_to_the_cap_of_a_job(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    purse.keep_credit(TOKEN, PRICE)  # type: ignore[arg-type]
    plans: list[PaymentPlan] = []

    def refuse(plan: PaymentPlan) -> bool:
        plans.append(plan)
        return False

    with blocking(coordinator, before_payment=refuse) as router, pytest.raises(PaymentRefusedError):
        classify(router)
    assert [plan.by_credit for plan in plans] == [True]
    with blocking(coordinator, spending=SpendingCaps(per_job=1)) as router, pytest.raises(SpendingCapError):
        classify(router)
    assert sent(coordinator) == ["nothing", "nothing"]


def test_a_job_that_failed_before_its_payment_was_decided_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("settling", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="not decided"):
            classify(router)
        assert router.credits() == []
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
        assert router.spent == PRICE
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_nobody_waited_for_is_looked_at_before_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [paid_answer(RUNNING, "reserved", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN), *done]
        classify(router)
    assert sent(coordinator)[-1] == "credit"


def test_a_job_that_is_cancelled_late_keeps_its_credit(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [paid_answer(RUNNING, "settled", chain=Chain.MONAD)]
    cancelled = job_answer("cancelled", b'{"error":"cancelled"}')
    coordinator.cancel = paid_answer(cancelled, "credited", chain=Chain.MONAD, token=TOKEN)
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobTimeoutError):
            classify(router, timeout_s=1.0, cancel_on_timeout=True)
        assert router.credits() == [PRICE]


def test_a_void_payment_is_no_credit_and_is_looked_at_again_when_nobody_can_carry_it_out_any_more(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError) as caught:
            classify(router)
        asked = len(coordinator.looks)
        with pytest.raises(JobFailedError):
            classify(router)
        assert len(coordinator.looks) == asked + 1, "the second job alone is looked at"
    assert "credit" not in str(caught.value)
    [job] = purse.awaited().values()
    assert purse.credits() == []
    assert job.look_at == job.dies_at > time.time() + 60


def test_a_void_payment_that_was_carried_out_after_all_is_a_credit_when_its_coordinator_learns_of_it(
    evm: Wallet, purse: PurseFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    coordinator, _ = shop(credits={TOKEN: PRICE})
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError):
            classify(router)
        coordinator.new_job_id = "another-job"
        # Nobody can carry it out any more, and nobody has noticed yet that somebody did.
        now[0] = purse.awaited()[JOB_ID].dies_at + 1
        router.submit(TaskJob("classify", "x"))
        assert (purse.credits(), sent(coordinator)[-1]) == ([], "payment")
        now[0] = purse.awaited()[JOB_ID].look_at
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD)]
        router.submit(TaskJob("classify", "y"))
    assert (sent(coordinator)[-1], list(purse.awaited())) == ("credit", ["another-job"])


def test_a_void_payment_is_looked_for_no_more_when_its_coordinator_must_know_of_it(
    evm: Wallet, purse: PurseFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError):
            classify(router)
        coordinator.new_job_id = "another-job"
        now[0] = purse.awaited()[JOB_ID].dies_at + 3600
        router.submit(TaskJob("classify", "x"))
    assert list(purse.awaited()) == ["another-job"]


def test_a_job_paid_by_a_credit_that_fails_without_a_new_one_leaves_nothing_to_look_for(
    purse: PurseFile,
) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE}, gives=OTHER_TOKEN)
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD, network="credit")]
    purse.keep_credit(TOKEN, MicroUsd(PRICE))
    with blocking(coordinator) as router, pytest.raises(JobFailedError):
        classify(router)
    assert (purse.credits(), purse.awaited()) == ([], {})


def test_a_completed_job_leaves_nothing_in_the_purse(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert (purse.credits(), purse.awaited()) == ([], {})
    assert TOKEN not in purse.path.read_text()


def test_the_token_of_the_commit_becomes_a_credit_that_the_job_itself_tells_nobody(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError, match="became a credit"):
            classify(router)
        coordinator.about_job = done
        classify(router)
        assert router.spent == PRICE
    assert sent(coordinator) == ["nothing", "payment", "nothing", "credit"]


@pytest.mark.parametrize("state", ["void", "settling", "unknown", "reserved", "settled"])
def test_the_token_of_a_job_that_is_not_credited_is_never_spent(
    evm: Wallet, purse: PurseFile, state: str
) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    coordinator.about_job = [failed_paid(state, chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        for _ in range(3):
            with pytest.raises(JobFailedError):
                classify(router)
    assert "credit" not in sent(coordinator)
    assert purse.credits() == []


def test_a_program_that_is_killed_before_its_job_fails_leaves_the_credit_to_the_next(evm: Wallet) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    with blocking(coordinator, wallet=evm) as killed:
        killed.submit(TaskJob("classify", "x"))
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD), *done]
    with blocking(coordinator) as another:
        classify(another)
        assert (another.spent, another.credits()) == (0, [])
    assert sent(coordinator)[-1] == "credit"


def test_a_client_does_not_look_at_jobs_that_it_is_waiting_for(evm: Wallet) -> None:
    coordinator, _ = shop()
    with blocking(coordinator, wallet=evm) as router:
        for _ in range(3):
            router.submit(TaskJob("classify", "x"))
    assert coordinator.looks == []


def test_jobs_of_other_programs_that_run_are_looked_at_more_and_more_seldom(
    evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    coordinator, _ = shop()
    coordinator.about_job = [paid_answer(RUNNING, "reserved", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as waiting:
        waiting.submit(TaskJob("classify", "x"))
    coordinator.new_job_id = "another-job"
    looks = []
    for _ in range(40):
        with blocking(coordinator, wallet=evm) as another:
            another.submit(TaskJob("classify", "x"))
        looks.append(len(coordinator.looks))
        now[0] += 30
    assert (looks[0], looks[10], looks[20], looks[39]) == (1, 6, 8, 9)


def test_a_coordinator_that_does_not_answer_about_old_jobs_delays_no_payment_for_long(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, _ = shop()
    done = coordinator.about_job
    for name in ("one", "two", "three"):
        purse.await_job(name, AwaitedJob(time.time() - 100, 0.0, 0.0, TOKEN, MicroUsd(PRICE)))
        coordinator.overrides[f"/v1/jobs/{name}"] = httpx.ReadTimeout("slow")
    coordinator.about_job = done
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert [each.path for each in coordinator.asked if each.method == "GET"].count("/v1/jobs/one") == 1
    assert len([each for each in coordinator.asked if each.path in coordinator.overrides]) == 1
    assert len(purse.awaited()) == 3


@pytest.mark.parametrize("status", [404, 401, 500, 200])
def test_a_job_that_cannot_be_looked_at_keeps_its_token_for_a_day(
    evm: Wallet, purse: PurseFile, status: int
) -> None:
    coordinator, _ = shop()
    coordinator.overrides["/v1/jobs/old"] = refused(status, "not_found" if status == 404 else "x")
    purse.await_job("old", AwaitedJob(time.time() - 3600, 0.0, 0.0, TOKEN, MicroUsd(PRICE)))
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
        assert purse.awaited()["old"].token == TOKEN
        purse.decided("old")
        purse.await_job("old", AwaitedJob(time.time() - 90_000, 0.0, 0.0, TOKEN, MicroUsd(PRICE)))
        classify(router)
        assert ("old" in purse.awaited()) == (status != 404)
        purse.decided("old")
        purse.await_job("old", AwaitedJob(time.time() - 2_700_000, 0.0, 0.0, TOKEN, MicroUsd(PRICE)))
        classify(router)
    assert "old" not in purse.awaited()


def test_no_credit_is_larger_than_what_was_paid(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, amount=10**40)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError):
        classify(router)
    assert purse.credits() == [PRICE]


@pytest.mark.parametrize("amount", [0, -5])
def test_a_credit_of_nothing_is_not_kept(evm: Wallet, purse: PurseFile, amount: int) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, amount=amount)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError):
        classify(router)
    assert (purse.credits(), purse.awaited()) == ([], {})


def test_a_coordinator_that_gives_the_token_of_a_credit_for_another_job_takes_nothing_away(
    evm: Wallet, purse: PurseFile
) -> None:
    coordinator, _ = shop(gives=TOKEN)
    purse.keep_credit(TOKEN, MicroUsd(PRICE - 1))
    coordinator.about_job = [failed_paid("void", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(JobFailedError):
            classify(router)
        coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=OTHER_TOKEN)]
        with pytest.raises(JobFailedError):
            classify(router)
    assert purse.credits() == [PRICE - 1]


def test_the_first_token_of_a_job_is_the_one_that_counts(evm: Wallet, purse: PurseFile) -> None:
    coordinator, till = shop()
    with blocking(coordinator, wallet=evm) as router:
        router.submit(TaskJob("classify", "x"))
        till.gives = OTHER_TOKEN
        router.submit(TaskJob("classify", "y"))
    assert [job.token for job in purse.awaited().values()] == [TOKEN]


@pytest.mark.parametrize("job_id", ["../../v1/keys", "", "x" * 200, "a b"])
def test_an_id_that_is_none_is_an_error_and_is_never_asked_for(
    evm: Wallet, purse: PurseFile, job_id: str
) -> None:
    coordinator, _ = shop()
    coordinator.new_job_id = job_id
    with blocking(coordinator, wallet=evm) as router:
        with pytest.raises(UnexpectedAnswerError, match="an id that is none"):
            classify(router)
        assert router.spent == PRICE
    assert purse.awaited() == {}


@pytest.mark.parametrize("status", ["credited", "settled"])
def test_a_completed_job_is_no_credit_whatever_is_said_of_its_payment(
    evm: Wallet, purse: PurseFile, status: str
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [paid_answer(completed(OUTPUT), status, chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        classify(router)
    assert (purse.credits(), purse.awaited()) == ([], {})


def test_a_credit_that_cannot_be_written_down_is_found_later(evm: Wallet, purse: PurseFile) -> None:
    coordinator, _ = shop(credits={TOKEN: PRICE})
    done = coordinator.about_job
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD)]
    with blocking(coordinator, wallet=evm) as router:
        job_id = router.submit(TaskJob("classify", "x"))
        kept = purse.path.read_bytes()
        purse.path.write_bytes(b"damaged")
        with pytest.raises(JobFailedError):
            router.result(job_id)
    purse.path.write_bytes(kept)
    coordinator.about_job = [*coordinator.about_job, *done]
    with blocking(coordinator) as another:
        classify(another)
    assert sent(coordinator)[-1] == "credit"


@pytest.mark.parametrize("token", ["crc_short", "crc_" + "A" * 43 + "\r\nX: y", ""])
def test_a_token_that_is_none_is_not_kept(
    evm: Wallet, purse: PurseFile, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, _ = shop(gives=token)
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=token)]
    with blocking(coordinator, wallet=evm) as router, pytest.raises(JobFailedError):
        classify(router)
    assert purse.credits() == []


def test_a_purse_that_cannot_be_written_hides_no_result(
    evm: Wallet, purse: PurseFile, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator, _ = shop()
    coordinator.about_job = [failed_paid("credited", chain=Chain.MONAD, token=TOKEN)]
    with blocking(coordinator, wallet=evm) as router:
        job_id = router.submit(TaskJob("classify", "x"))
        purse.path.unlink()
        purse.path.mkdir()
        with pytest.raises(JobFailedError):
            router.result(job_id)
    assert "purse" in caplog.text
    assert TOKEN not in caplog.text
