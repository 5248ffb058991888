"""Everything logs as much as it can, things go well and badly, and no log or error tells a secret."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.receipts import sha256_hex
from compute_router.sdk import AsyncComputeRouter, AuthenticationError, NoTrustedWorkerError
from tests.fakes.processes import CoordinatorProcess, coordinator_process, program, worker_process
from tests.transport.harness import TASK
from tests.transport.worker_client import worker

pytestmark = pytest.mark.acceptance

DEBUG = ("--log-level", "debug")
PUBLIC_TEXT = "Zebrafinch sings in public."
PRIVATE_TEXT = "Quokkanest is what only we two know."
PLAIN_PRIVATE_TEXT = "Axolotlpond is private and not sealed."
REFUSED_TEXT = "Pangolinburrow is in a request that is refused."
WORKERS_ERROR = "Narwhaltooth is what the worker choked on."
MARKS = {text: text.split()[0] for text in (PUBLIC_TEXT, PRIVATE_TEXT, PLAIN_PRIVATE_TEXT, REFUSED_TEXT)}


_CREDENTIALS = re.compile(r"authorization: \w+ \S{12,}|bearer cr\S+|basic cr\S+|cr[kt]_\w{20,}")


class Secrets:
    """What nobody may read in a log: by name, so that a failure does not print them either."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {**MARKS, "what a worker said of its error": "Narwhaltooth"}

    def add(self, name: str, secret: str) -> str:
        """Remember a secret, and return it."""
        assert len(secret) >= 10
        self._secrets[name] = secret
        return secret

    def read_keys(self, directory: Path) -> None:
        """Remember every key file of a directory."""
        for path in directory.glob("*.key"):
            self.add(path.name, path.read_text("ascii").strip())

    def found_in(self, text: str) -> list[str]:
        """The names of the secrets in a text."""
        folded = text.lower()
        found = [name for name, secret in self._secrets.items() if secret.lower() in folded]
        # An answer's challenge and advice name the scheme; what follows it in a request is the secret.
        return found + _CREDENTIALS.findall(folded)


async def post(coordinator: CoordinatorProcess, path: str, content: str, **headers: str) -> tuple[int, str]:
    """Send a body as it is; status and body of the answer."""
    fields = {"Content-Type": "application/json"} | headers
    answer = await coordinator.http.post(path, content=content, headers=fields)
    return answer.status_code, answer.text


async def refusals(coordinator: CoordinatorProcess, token: str, code: str) -> list[str]:
    """The texts of errors about requests that hold secrets."""
    commit, fast = "/v1/jobs/commit/cheap", "/v1/jobs/commit/fast"
    broken = json.dumps(TASK | {"payload": {"task_type": "summarize", "input": REFUSED_TEXT}})
    wrong_key = {"Authorization": f"Bearer {token}x"}
    sent = [
        await post(coordinator, commit, broken[:-3]),
        await post(coordinator, commit, broken.replace('"input"', '"inputs"')),
        await post(coordinator, fast, broken.replace("summarize", "translate")),
        await post(coordinator, commit, json.dumps({REFUSED_TEXT: 5})[:-1]),
        await post(coordinator, commit, json.dumps(REFUSED_TEXT)),
        await post(coordinator, "/v1/trust/create", '{"user_id":"alice"}', **wrong_key),
        await post(coordinator, "/v1/trust/create", '{"user_id":"alice"}', Authorization=f"Basic {token}"),
        await post(coordinator, "/v1/trust/claim", json.dumps({"pairing_code": code, "provider": "x"})),
        await post(coordinator, "/v1/trust/claim", json.dumps({"pairing_code": code})[:-1]),
    ]
    assert all(status >= 400 for status, _ in sent), sent
    return [text for _, text in sent]


async def a_worker_that_errs(coordinator: CoordinatorProcess, secrets: Secrets) -> None:
    """Takes a job, delivers wrong proofs and says what it was working on."""
    key = SigningKey.generate()
    secrets.add("key of the erring worker", key.encode().hex())
    async with worker(coordinator.port, key) as client:
        await client.register(proven=True)
        body = TASK | {"user_id": "bob", "payload": {"task_type": "summarize", "input": PUBLIC_TEXT}}
        status, text = await post(coordinator, "/v1/jobs/commit/cheap", json.dumps(body))
        assert status == 201
        job = await client.receive("job_assign")
        output = json.dumps({"summary": PUBLIC_TEXT, "word_count": 4}).encode()
        client.send(client.completion(job["job_id"], output, output_hash=sha256_hex(b"{}")))
        assert (await client.receive("job_ack"))["status"] == "rejected"
        again = await client.receive("job_assign")
        named = {"job_id": again["job_id"], "attempt": again["attempt"]}
        failure = {"type": "job_failed", "code": "odd", "message": WORKERS_ERROR, "retryable": False}
        client.send(json.dumps(failure | named))
        client.send(b'{"type": "job_complete", "output": "' + PUBLIC_TEXT.encode() + b'"')
        while (await client.receive())["type"] != "error":
            pass
        answer = await coordinator.http.get(f"/v1/jobs/{json.loads(text)['job_id']}?wait=10")
        assert answer.json()["status"] == "failed"


async def test_a_day_of_an_open_network_leaves_no_secret_in_any_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = Secrets()
    trust_file = tmp_path / "config" / "trust.json"
    async with (
        coordinator_process(tmp_path, *DEBUG) as coordinator,
        AsyncComputeRouter(coordinator.url, user_id="alice", trust_file=trust_file) as router,
    ):
        code = await router.create_pairing()
        secrets.add("pairing code", code.pairing_code)
        token = _token(json.loads(trust_file.read_text("utf-8")))
        secrets.add("user token", token)
        errors = await refusals(coordinator, token, code.pairing_code)
        await a_worker_that_errs(coordinator, secrets)
        flags = ["--type", "seeker", "--pair", (await router.create_pairing()).pairing_code, *DEBUG]
        secrets.add("second pairing code", flags[3])
        async with worker_process(coordinator.url, tmp_path, *flags) as process:
            while not await router.list_providers():
                pass
            (provider,) = await router.list_providers()
            await router.pin_provider(provider.provider_pubkey)
            public = await router.run_task("summarize", PUBLIC_TEXT)
            private = await router.run_task("summarize", PRIVATE_TEXT, privacy="PRIVATE")
            plain = await router.run_task("summarize", PLAIN_PRIVATE_TEXT, privacy="PRIVATE", sealed=False)
            assert (public.summary, private.summary, plain.summary) == (*list(MARKS)[:3],)
            assert await process.stop() == 0
        with pytest.raises(NoTrustedWorkerError) as refused:
            await router.run_task("summarize", PRIVATE_TEXT, privacy="PRIVATE")
        errors += [str(refused.value), repr(refused.value), repr(router), repr(code)]
        assert await coordinator.process.stop() == 0
    secrets.read_keys(tmp_path)
    logs = {
        "coordinator": coordinator.process.stderr + coordinator.process.stdout,
        "worker": process.stderr + process.stdout,
        "sdk": caplog.text,
        "errors": "\n".join(errors),
    }
    assert "DEBUG" in logs["coordinator"] + logs["worker"]
    assert len(caplog.records) > 10, "the SDK's HTTP client logs at this level"
    assert {name: secrets.found_in(text) for name, text in logs.items()} == {name: [] for name in logs}


async def test_a_day_of_a_network_with_keys_leaves_no_key_in_any_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = Secrets()
    create = ["-m", "compute_router.sdk", "keys", "create"]
    async with coordinator_process(tmp_path, "--auth", "keys") as coordinator:
        assert await coordinator.process.stop() == 0
    async with program([*create, "--db", "solana.db", "--scope", "admin"], tmp_path) as process:
        assert await process.ended() == 0
    admin = secrets.add("secret of the admin key", process.stdout.strip())
    async with (
        coordinator_process(tmp_path, "--auth", "keys", *DEBUG) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker", *DEBUG) as serving,
    ):
        environ = {"COMPUTE_ROUTER_API_KEY": admin}
        url = ["--coordinator", coordinator.url]
        async with program([*create, "--user", "alice", *url], tmp_path, environ) as made:
            assert await made.ended() == 0
        api_key = secrets.add("API key", made.stdout.strip())
        async with AsyncComputeRouter(coordinator.url, user_id="alice", api_key=api_key) as router:
            assert (await router.run_task("summarize", PUBLIC_TEXT)).verified
            shown = repr(router)
        wrong = api_key[:-1] + ("A" if api_key[-1] != "A" else "B")
        secrets.add("wrong API key", wrong)
        async with AsyncComputeRouter(coordinator.url, user_id="alice", api_key=wrong) as router:
            with pytest.raises(AuthenticationError) as refused:
                await router.run_task("summarize", REFUSED_TEXT)
        assert await serving.stop() == 0
        assert await coordinator.process.stop() == 0
    secrets.read_keys(tmp_path)
    logs = {
        "coordinator": coordinator.process.stderr + coordinator.process.stdout,
        "worker": serving.stderr + serving.stdout,
        "commands": process.stderr + made.stderr,
        "sdk": caplog.text,
        "errors": str(refused.value) + repr(refused.value) + shown,
    }
    assert {name: secrets.found_in(text) for name, text in logs.items()} == {name: [] for name in logs}


def _token(content: Any) -> str:
    """The one user token somewhere in a trust file."""
    text = json.dumps(content)
    start = text.index("crt_")
    return text[start : start + 47]
