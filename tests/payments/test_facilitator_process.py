"""The facilitator as a process: over HTTP, killed at the worst moment, and watched by its parent."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from compute_router.actors.clock import SystemClock
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import Refused, Settled, Unknown, Verified
from compute_router.protocol.units import MicroUsd
from compute_router.storage.settlement_book import SettlementBook
from compute_router.transport.facilitator.parent import Whispered
from compute_router.transport.payments.local_facilitator import LocalFacilitator, Restarts
from compute_router.transport.payments.remote_facilitator import RemoteFacilitator
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm

PATIENCE_SECONDS = 30.0
BLOCK_PATIENCE_SECONDS = 20 * PATIENCE_SECONDS
"""How long a settlement waits for its block, where a test must see that nobody waits for that."""
_SENDS = {Chain.MONAD: "eth_sendRawTransaction", Chain.SOLANA: "sendTransaction"}


def key_file(scene: Scene, directory: Path) -> Path:
    path = directory / "gas.key"
    text = scene.key.hex() if scene.chain is Chain.MONAD else json.dumps(list(scene.key))
    path.write_text(text)
    path.chmod(0o600)
    return path


class Process:
    """A facilitator process, and what it is asked."""

    def __init__(self, scene: Scene, directory: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "compute_router.transport.facilitator"]
        command += ["--chain", scene.chain.value, "--key", str(key_file(scene, directory)), "--port", "0"]
        url_file = directory / "node.url"
        url_file.write_text(scene.local.rpc_url + "\n")
        command += ["--rpc-url-file", str(url_file), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        match = re.search(r"listening on (\S+)", self.first_line)
        assert match, self.process.communicate()[1]
        self.url = match[1]
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False)

    def post(self, path: str, body: bytes) -> Any:
        response = self.client.post(path, content=body, headers=JSON)
        return response.status_code, response.json()

    def get(self, path: str) -> Any:
        response = self.client.get(path)
        return response.status_code, response.json()

    def end(self, number: int) -> tuple[str, str]:
        self.client.close()
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE_SECONDS)


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def start(scene: Scene, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def one(*flags: str) -> Process:
        started.append(Process(scene, tmp_path, *flags))
        return started[-1]

    yield one
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def test_it_verifies_and_settles_over_http_and_stops_when_told(
    scene: Scene, start: Callable[[], Process]
) -> None:
    process = start()
    body = scene.body()
    assert process.first_line.startswith(
        f"{NETWORKS[scene.chain].label} facilitator listening on http://127.0.0.1:"
    )
    assert process.get("/health") == (
        200,
        {"status": "ok", "network": NETWORKS[scene.chain].caip2, "address": _address(scene), "problem": None},
    )
    assert process.post("/verify", body) == (200, {"isValid": True, "payer": scene.seeker})
    status, ended = process.post("/settle", body)
    assert (status, ended["success"], ended["network"]) == (200, True, NETWORKS[scene.chain].caip2)
    assert scene.paid == PRICE
    assert scene.outcome(scene.payment(json.loads(body)["paymentPayload"]["payload"])) == Settled(
        ended["transaction"]
    )
    _, errors = process.end(signal.SIGTERM)
    assert process.process.returncode == 0
    assert scene.seeker not in errors


def test_it_says_what_it_supports_in_both_versions(scene: Scene, start: Callable[[], Process]) -> None:
    status, supported = start().get("/supported")
    assert status == 200
    kinds = {(kind["x402Version"], kind["scheme"], kind["network"]) for kind in supported["kinds"]}
    old = {Chain.MONAD: "monad-testnet", Chain.SOLANA: "solana-devnet"}[scene.chain]
    assert kinds == {(2, "exact", NETWORKS[scene.chain].caip2), (1, "exact", old)}
    if scene.chain is Chain.SOLANA:
        assert {kind["extra"]["feePayer"] for kind in supported["kinds"]} == {_address(scene)}


def test_the_coordinators_client_understands_it(scene: Scene, start: Callable[[], Process]) -> None:
    process = start()
    payment = scene.payment(scene.signed())

    async def scenario() -> None:
        facilitator = RemoteFacilitator(process.url, scene.chain, SystemClock().steady_ms)
        assert await facilitator.healthy() is None
        verified = await facilitator.verify(payment.payload, payment.requirements)
        assert verified == Verified(scene.seeker)
        settled = await facilitator.settle(payment)
        assert isinstance(settled, Settled)
        assert await facilitator.settle(payment) == settled
        assert isinstance(await facilitator.verify(payment.payload, payment.requirements), Refused)
        scene.local.faults.down = True
        assert isinstance(await facilitator.settle(scene.payment(scene.signed())), Unknown)
        await facilitator.close()

    asyncio.run(scenario())
    assert scene.paid == PRICE


def test_bad_requests_are_answered_and_end_nothing(scene: Scene, start: Callable[[], Process]) -> None:
    process = start()
    whole = json.loads(scene.body())
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 50_000, b"{}", b'{"paymentPayload": 1}'):
        for path in ("/verify", "/settle"):
            status, answer = process.post(path, body)
            assert (status, set(answer)) == (400, {"error", "message"}), body
    for spoiled in _spoiled(whole):
        status, answer = process.post("/verify", json.dumps(spoiled).encode())
        assert (status, answer["isValid"]) == (200, False), spoiled
        status, answer = process.post("/settle", json.dumps(spoiled).encode())
        assert (status, answer["success"], answer["transaction"]) == (200, False, ""), spoiled
    form = httpx.post(process.url + "/settle", content=scene.body(), trust_env=False)
    assert form.status_code == 415
    large = httpx.post(process.url + "/verify", content=b" " * 100_000, headers=JSON, trust_env=False)
    assert (large.status_code, large.json()["error"]) == (413, "payload_too_large")
    assert process.get("/nothing")[0] == 404
    assert process.get("/settle")[0] == 405
    assert scene.paid == 0
    assert process.get("/health")[0] == 200


def test_killed_between_broadcast_and_answer_the_outcome_is_found_and_nothing_is_paid_twice(
    scene: Scene, start: Callable[[], Process]
) -> None:
    inner = scene.signed()
    scene.local.faults.hold_transactions = True
    sent = _sent(scene)
    first = start()
    asking = subprocess.Popen(
        [sys.executable, "-c", _ASK, first.url + "/settle", scene.body(inner).decode(), "none"],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert sent.wait(PATIENCE_SECONDS)
        first.end(signal.SIGKILL)
    finally:
        asking.wait(PATIENCE_SECONDS)
    scene.local.release()
    found = scene.outcome(scene.payment(inner))
    assert isinstance(found, Settled)
    status, ended = start().post("/settle", scene.body(inner))
    assert (status, ended["success"], ended["transaction"]) == (200, True, found.transaction_ref)
    assert scene.paid == PRICE


def test_killed_while_nothing_was_sent_it_settles_when_asked_again(
    scene: Scene, start: Callable[[], Process]
) -> None:
    body = scene.body()
    first = start()
    scene.local.faults.delay_s = 2.0
    with pytest.raises(httpx.TimeoutException):
        httpx.post(first.url + "/settle", content=body, headers=JSON, timeout=0.3, trust_env=False)
    first.end(signal.SIGKILL)
    scene.local.faults.delay_s = 0.0
    assert scene.paid == 0
    assert start().post("/settle", body)[1]["success"]
    assert scene.paid == PRICE


def test_while_the_chain_is_down_it_starts_and_says_so(scene: Scene, start: Callable[[], Process]) -> None:
    scene.local.faults.down = True
    process = start()
    assert process.get("/health")[0] == 503
    assert process.get("/supported")[0] == 503
    status, answer = process.post("/settle", scene.body())
    assert (status, answer["error"]) == (503, "chain_unavailable")
    assert process.post("/verify", scene.body())[0] == 503
    _, errors = process.end(signal.SIGTERM)
    assert "node cannot be asked" in errors


def test_a_second_one_with_the_same_book_does_not_start(
    scene: Scene, start: Callable[[], Process], tmp_path: Path
) -> None:
    start()
    second = _run(scene, "--key", str(key_file(scene, tmp_path)), "--port", "0")
    assert second.returncode == 1
    assert "Another facilitator uses" in second.stderr


def test_nobody_but_its_coordinator_has_the_gas_of_its_facilitator_spent(
    scene: Scene, tmp_path: Path
) -> None:
    payment = scene.payment(scene.signed())

    async def scenario() -> None:
        local = LocalFacilitator(scene.chain, key_file(scene, tmp_path), scene.local.rpc_url)
        await local.start()
        assert local.secret not in _seen_by_others(local.pid)
        async with httpx.AsyncClient(base_url=local.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            for headers in (JSON, {**JSON, "Authorization": "Bearer guessed"}):
                for path in ("/verify", "/settle"):
                    answer = await client.post(path, content=scene.body(), headers=headers)
                    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
                assert (await client.get("/supported", headers=headers)).status_code == 401
            assert (await client.get("/health")).status_code == 200
        assert scene.paid == 0
        coordinators = RemoteFacilitator(local.url, scene.chain, SystemClock().steady_ms, secret=local.secret)
        assert await coordinators.healthy() is None
        assert isinstance(await coordinators.settle(payment), Settled)
        await coordinators.close()
        await local.stop()

    asyncio.run(scenario())
    assert scene.paid == PRICE


def test_with_a_list_of_those_who_are_paid_nobody_else_is(
    scene: Scene, start: Callable[..., Process]
) -> None:
    other = scene.local.new_key()
    stranger = str(other.address if hasattr(other, "address") else other.pubkey())
    listed = start("--pay-to", scene.pay_to)
    scene.local.fund(stranger, MicroUsd(0))
    to_him = scene.body(scene.signed(to=stranger), payTo=stranger)
    assert listed.post("/verify", to_him) == (
        200,
        {"isValid": False, "invalidReason": "recipient_not_served"},
    )
    ended = listed.post("/settle", to_him)[1]
    assert (ended["success"], ended["transaction"], ended["errorReason"]) == (
        False,
        "",
        "recipient_not_served",
    )
    assert listed.post("/settle", scene.body())[1]["success"]
    assert scene.paid == PRICE


def test_payments_that_are_worth_less_than_their_gas_are_not_settled(
    scene: Scene, start: Callable[..., Process]
) -> None:
    process = start("--min-amount", "0.005")
    for amount in ("0", "1", "4999"):
        small = scene.body(scene.signed(value=amount), amount=amount)
        assert process.post("/verify", small)[1]["invalidReason"] == "amount_too_small"
        assert process.post("/settle", small)[1]["errorReason"] == "amount_too_small"
    assert scene.paid == 0
    assert process.post("/settle", scene.body(scene.signed(value="5000"), amount="5000"))[1]["success"]


def test_where_others_can_reach_it_somebody_must_have_said_whose_payments_it_settles(
    evm: LocalEvm, tmp_path: Path
) -> None:
    scene = EvmScene(tmp_path, evm)
    flags = ("--key", str(key_file(scene, tmp_path)), "--port", "0", "--rpc-url", scene.local.rpc_url)
    for host in ("0.0.0.0", "::", ""):
        ended = _run(scene, *flags, "--host", host)
        assert (ended.returncode, "--pay-to" in ended.stderr) == (2, True)
    for wrong in (("--pay-to", "0x12"), ("--pay-to", scene.pay_to, "--open")):
        ended = _run(scene, *flags, *wrong)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    for word in (("--pay-to", scene.pay_to), ("--open",)):
        process = Process(scene, tmp_path, "--host", "0.0.0.0", *word)
        process.end(signal.SIGTERM)
        assert process.process.returncode == 0


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://node:99999", "http://", "ftp://node", "node", "http://no de", "http://n\u00f6de"],
)
def test_a_bad_url_of_the_node_is_told_in_a_sentence_without_it(
    evm: LocalEvm, tmp_path: Path, url: str
) -> None:
    scene = EvmScene(tmp_path, evm)
    file = tmp_path / "node.url"
    file.write_text(url, encoding="utf-8")
    for given in (("--rpc-url", url), ("--rpc-url-file", str(file))):
        ended = _run(scene, "--key", str(key_file(scene, tmp_path)), *given)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
        assert "the node's URL is not one" in ended.stderr
        assert f" {url}\n" not in ended.stderr


def test_a_bad_key_file_is_told_in_one_sentence_without_the_key(evm: LocalEvm, tmp_path: Path) -> None:
    scene = EvmScene(tmp_path, evm)
    path = key_file(scene, tmp_path)
    path.chmod(0o644)
    ended = _run(scene, "--key", str(path), "--port", "0")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "chmod 600" in ended.stderr
    assert scene.key.hex() not in ended.stderr


def test_without_a_key_or_with_an_unreadable_one_it_does_not_start(scene: Scene, tmp_path: Path) -> None:
    assert _run(scene).returncode == 2
    missing = _run(scene, "--key", str(tmp_path / "none"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)


def test_the_coordinator_starts_it_restarts_it_at_the_same_address_and_stops_it(
    scene: Scene, tmp_path: Path
) -> None:
    async def scenario() -> None:
        facilitator = LocalFacilitator(
            scene.chain, key_file(scene, tmp_path), scene.local.rpc_url, Restarts(first=0.05)
        )
        await facilitator.start()
        first, url = facilitator.pid, facilitator.url
        assert first is not None
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            assert (await client.get(url + "/health")).status_code == 200
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await facilitator.ended.wait()
                await facilitator.started.wait()
            assert facilitator.pid != first
            assert facilitator.url == url
            answer = await client.post(url + "/settle", content=scene.body(), headers=_whispered(facilitator))
            assert answer.json()["success"]
        second = facilitator.pid
        assert second is not None
        await facilitator.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(second, 0)

    asyncio.run(scenario())
    assert scene.paid == PRICE


def test_a_local_facilitator_that_cannot_start_is_an_error_of_the_settings(
    scene: Scene, tmp_path: Path
) -> None:
    async def scenario() -> None:
        facilitator = LocalFacilitator(scene.chain, tmp_path / "none", scene.local.rpc_url)
        with pytest.raises(ConfigurationError, match="does not start"):
            await facilitator.start()
        await facilitator.stop()

    asyncio.run(scenario())


def test_it_ends_when_its_parent_is_killed(scene: Scene, tmp_path: Path) -> None:
    parent = _parent(scene, key_file(scene, tmp_path))
    assert parent.stdout is not None
    child = int(parent.stdout.readline().split()[0])
    parent.kill()
    parent.communicate()
    _wait_for_end(child)


def test_when_its_parent_is_killed_it_leaves_its_book_to_the_next_at_once_whatever_waits_for_a_block(
    scene: Scene, tmp_path: Path
) -> None:
    body, key = scene.body(), key_file(scene, tmp_path)
    scene.local.faults.hold_transactions = True
    sent = _sent(scene)
    parent = _parent(scene, key)
    assert parent.stdout is not None
    child, url, secret = parent.stdout.readline().split()
    asking = subprocess.Popen(
        [sys.executable, "-c", _ASK, url + "/settle", body.decode(), secret], stderr=subprocess.DEVNULL
    )
    try:
        assert sent.wait(PATIENCE_SECONDS)
    finally:
        parent.kill()
        parent.communicate()
    _wait_for_end(int(child))
    asking.wait(PATIENCE_SECONDS)
    scene.local.release()

    async def next_one() -> None:
        facilitator = LocalFacilitator(scene.chain, key, scene.local.rpc_url)
        await facilitator.start()
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            headers = _whispered(facilitator)
            answer = await client.post(facilitator.url + "/settle", content=body, headers=headers)
            assert answer.json()["success"]
        await facilitator.stop()

    asyncio.run(next_one())
    assert scene.paid == PRICE


def test_a_facilitator_of_a_coordinator_waits_for_the_one_before_it_to_give_up_the_book(
    scene: Scene, tmp_path: Path
) -> None:
    key = key_file(scene, tmp_path)
    before = SettlementBook(key.with_name("gas.key.book"))
    command = [sys.executable, "-m", "compute_router.transport.facilitator", "--chain", scene.chain.value]
    command += ["--key", str(key), "--port", "0", "--supervised"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(Whispered(scene.local.rpc_url, "whispered").line().decode())
        process.stdin.flush()
        assert "waiting for the facilitator" in process.stderr.readline()
        before.close()
        assert "listening on" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0


_ASK = """
import sys, httpx
headers = {'Content-Type': 'application/json', 'Authorization': f'Bearer {sys.argv[3]}'}
httpx.post(sys.argv[1], content=sys.argv[2], headers=headers, trust_env=False)
"""
_PARENT = """
import asyncio, sys
from pathlib import Path
from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs
from compute_router.transport.payments.local_facilitator import LocalFacilitator
async def main():
    confirm = DurationMs(int(sys.argv[4]) * 1000)
    facilitator = LocalFacilitator(Chain(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], confirm=confirm)
    await facilitator.start()
    print(facilitator.pid, facilitator.url, facilitator.secret, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def _parent(scene: Scene, key: Path) -> subprocess.Popen[str]:
    """A process with a facilitator of its own, which waits very long for a block."""
    command = [sys.executable, "-c", _PARENT, scene.chain.value, str(key), scene.local.rpc_url]
    command.append(f"{BLOCK_PATIENCE_SECONDS:.0f}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _seen_by_others(pid: int | None) -> str:
    """The command line of a process, and its environment."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()


def _whispered(facilitator: LocalFacilitator) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {facilitator.secret}"}


def _run(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "compute_router.transport.facilitator",
        "--chain",
        scene.chain.value,
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def _sent(scene: Scene) -> threading.Event:
    """Set as soon as the node has a transaction."""
    sent, name = threading.Event(), _SENDS[scene.chain]
    send = scene.local.methods[name]

    def noting(*params: Any) -> Any:
        answer = send(*params)
        sent.set()
        return answer

    scene.local.methods[name] = noting
    return sent


def _wait_for_end(pid: int) -> None:
    """Wait for the end of a process that is somebody else's child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE_SECONDS)[0], "it goes on"
    finally:
        os.close(descriptor)


def _address(scene: Scene) -> str:
    if isinstance(scene, SolanaScene):
        return str(scene.fee_payer.pubkey())
    from eth_account import Account

    return str(Account.from_key(scene.key).address)


def _spoiled(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with one thing wrong each time."""

    def changed(part: str, field: str, value: Any) -> dict[str, Any]:
        copy: dict[str, Any] = json.loads(json.dumps(whole))
        copy[part][field] = value
        return copy

    requirements, payload = "paymentRequirements", "paymentPayload"
    for field in ("scheme", "network", "asset", "payTo", "amount"):
        for value in ("", "other", None, 7, "1_000", "٣"):
            yield changed(requirements, field, value)
    for value in (3, "2", None, 1):
        yield changed(payload, "x402Version", value)
    inners: list[Any] = [{}, [], None, {"authorization": 1}, {"authorization": {}}, {"transaction": 5}]
    for wrong in inners:
        yield changed(payload, "payload", wrong)
    for text in ("", "%", "AAAA", "A" * 4000):
        yield changed(payload, "payload", {"transaction": text})
    inner = whole[payload]["payload"]
    if "authorization" in inner:
        for field in inner["authorization"]:
            for value in ("", "0x", "-1", "1e3", 5, None, "9" * 5000, "٣"):
                yield changed(
                    payload, "payload", {**inner, "authorization": {**inner["authorization"], field: value}}
                )
        for value in ("", "0x", "0x" + "00" * 65, "0x" + "11" * 64, "0x" + "ff" * 65, None, 5):
            yield changed(payload, "payload", {**inner, "signature": value})
