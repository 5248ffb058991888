"""A coordinator process says when it is ready, or in one sentence why it cannot be."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from compute_router.protocol.networks import NETWORKS, Chain
from tests.fakes.processes import coordinator_process, program, run_coordinator
from tests.transport.harness import TASK
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

pytestmark = pytest.mark.acceptance

USDC_ON_SOLANA = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
PAY_ON_MONAD = ["--chain", "monad", "--payments", "on", "--pay-to"]
PAID = ["--payments", "on", "--pay-to", USDC_ON_SOLANA]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with coordinator_process(tmp_path) as router:
        assert (await router.http.get("/v1/health")).json()["workers_online"] == 0
        assert await router.process.stop(number) == 0
    assert f"listening on {router.url}\n" in router.process.stdout
    assert "Traceback" not in router.process.stderr
    assert "ERROR" not in router.process.stderr
    assert (tmp_path / "solana.db").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_cleanly_with_workers_and_long_polls_open(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with (
        coordinator_process(tmp_path, "--drain-seconds", "0.2") as router,
        worker(router.port) as registered,
        worker(router.port) as silent,
        connect(router.port) as poll,
    ):
        await registered.register(proven=True)
        job_id = (await router.http.post("/v1/jobs/commit/cheap", json=TASK)).json()["job_id"]
        await registered.receive("job_assign")
        poll.send(request("GET", f"/v1/jobs/{job_id}?wait=60"))
        # Another answer on the same event loop: the poll was read before it.
        await router.http.get("/v1/health")
        assert await router.process.stop(number) == 0
        assert (await poll.answer()).json()["status"] == "assigned"
        assert await registered.closed() == await silent.closed() == 1001
        assert "ERROR" not in router.process.stderr
        assert "Traceback" not in router.process.stderr


async def test_a_second_signal_does_not_break_the_end(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port):
        router.process.send_signal(signal.SIGINT)
        router.process.send_signal(signal.SIGTERM)
        assert await router.process.ended() == 0
        assert "Traceback" not in router.process.stderr


def make_foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.close()


async def test_a_database_of_the_other_chain_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, "--db", "jobs.db") as router:
        assert await router.process.stop(signal.SIGTERM) == 0
    await refuses_to_start(
        tmp_path, "jobs.db belongs to Solana devnet (solana:", "--chain", "monad", "--db", "jobs.db"
    )
    async with coordinator_process(tmp_path, "--db", "jobs.db") as router:
        assert await router.process.stop(signal.SIGTERM) == 0


def make_newer_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 1129469010")
        connection.execute("PRAGMA user_version = 999")
        connection.execute("CREATE TABLE jobs (id TEXT)")
    connection.close()


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("This is a diary. " * 100), "is not a database"),
    "foreign": (make_foreign_database, "solana.db"),
    "newer": (make_newer_database, "newer"),
    "directory": (lambda path: path.mkdir(), "solana.db"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_a_file_that_is_no_database_of_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    make, expected = UNUSABLE[kind]
    database = tmp_path / "solana.db"
    make(database)
    before = database.read_bytes() if database.is_file() else None
    await refuses_to_start(tmp_path, expected)
    assert before == (database.read_bytes() if database.is_file() else None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--db", "missing/solana.db"], "is not a directory"),
        (["--db", "/proc/solana.db"], "/proc/solana.db"),
        (["--db", "/dev/full/solana.db"], "/dev/full"),
        (["--host", "256.1.1.1"], "256.1.1.1"),
        (["--host", "x" * 70 + ".example"], "x" * 70),
        (["--host", "192.0.2.1"], "192.0.2.1"),
    ],
)
async def test_settings_that_cannot_work_are_refused(tmp_path: Path, flags: list[str], expected: str) -> None:
    await refuses_to_start(tmp_path, expected, *flags)


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        (["--chain", "dogecoin"], {}, "solana or monad"),
        (["--chain"], {}, "--chain"),
        (["--chain", ""], {}, "solana or monad"),
        (["--port", "abc"], {}, "port"),
        (["--port", "65536"], {}, "port"),
        (["--port", "-1"], {}, "port"),
        (["--log-level", "loud"], {}, "loud"),
        (["--payments", "maybe"], {}, "maybe"),
        (["--payments", "on"], {}, "--pay-to ADDRESS"),
        (["--payments", "on", "--pay-to", ""], {}, "--pay-to ADDRESS"),
        ([], {"COMPUTE_ROUTER_PAYMENTS": "on"}, "--pay-to ADDRESS"),
        (["--payments", "on", "--pay-to", "alice"], {}, "not an address on Solana"),
        (["--payments", "on", "--pay-to", "1" * 32], {}, "zero address"),
        (["--payments", "on", "--pay-to", f"0x{'ab' * 20}"], {}, "EVM address"),
        ([*PAY_ON_MONAD, f"0x{'ab' * 19}"], {}, "not an address on Monad"),
        ([*PAY_ON_MONAD, f"0x{'00' * 20}"], {}, "zero address"),
        ([*PAY_ON_MONAD, f"0x{'aB' * 20}"], {}, "mistyped"),
        ([*PAY_ON_MONAD, USDC_ON_SOLANA], {}, "address on Solana"),
        (["--pay-to", USDC_ON_SOLANA], {}, "payments are off"),
        (["--fee-bps=100"], {}, "payments are off"),
        ([*PAID, "--facilitator", "ftp://x"], {}, "URL"),
        ([*PAID, "--facilitator", "http://["], {}, "not a URL such as"),
        ([*PAID, "--facilitator", "http://host:99999"], {}, "not a URL such as"),
        ([*PAID, "--rpc-url", "http://["], {}, "not a URL such as"),
        (PAID, {"COMPUTE_ROUTER_RPC_URL": "http://host:99999"}, "not a URL such as"),
        ([*PAID, "--facilitator", "https://me:secret@example.org"], {}, "no user"),
        ([*PAID, "--facilitator", "local"], {}, "--facilitator-key"),
        ([*PAID, "--facilitator-key", "key"], {}, "--facilitator local"),
        ([*PAID, "--rpc-url", "localhost"], {}, "URL"),
        ([*PAID, "--fee-bps", "10001"], {}, "10000"),
        ([*PAID, "--fee-bps", "-1"], {}, "basis points"),
        ([*PAID, "--max-unsettled", "-1"], {}, "dollars"),
        ([*PAID, "--max-unsettled", "0.0000001"], {}, "dollars"),
        ([*PAID, "--max-losses", "-1"], {}, "dollars"),
        ([*PAID, "--max-losses", "much"], {}, "dollars"),
        (["--legacy-workers", "maybe"], {}, "yes or no"),
        ([], {"COMPUTE_ROUTER_LEGACY_WORKERS": "maybe"}, "yes or no"),
        (["--max-workers", "0"], {}, "max-workers"),
        (["--max-sockets-per-minute", "-5"], {}, "max-sockets-per-minute"),
        (["--max-body-bytes", "0"], {}, "bytes"),
        (["--queue-window-seconds", "0"], {}, "seconds"),
        (["--queue-window-seconds", "nan"], {}, "seconds"),
        (["--max-ttl-seconds", "86401"], {}, "seconds"),
        (["--max-run-seconds", "-1"], {}, "seconds"),
        (["--drain-seconds", "-0.1"], {}, "seconds"),
        (["--drain-seconds", "inf"], {}, "seconds"),
        (["--max-jobs", "0"], {}, "--max-jobs"),
        (["--max-jobs-per-user", "many"], {}, "many"),
        (["--max-connections-per-address", "1.5"], {}, "1.5"),
        (["--max-messages-per-second", "-5"], {}, "--max-messages-per-second"),
        (["--keep-days", "0"], {}, "--keep-days"),
        (["--audit-share", "1.1"], {}, "0 to 1"),
        (["--audit-share", "-0.1"], {}, "0 to 1"),
        (["--audit-share", "nan"], {}, "0 to 1"),
        ([], {"COMPUTE_ROUTER_AUDIT_SHARE": "all"}, "0 to 1"),
        (["--keep-days", "0.5"], {}, "0.5"),
        (["--keep-days", "100000"], {}, "days"),
        (["--cors-origins", "example.org"], {}, "origin"),
        (["--ws-origins", "example.org"], {}, "origin"),
        (["--turbo"], {}, "--turbo"),
        (["extra"], {}, "extra"),
        ([], {"COMPUTE_ROUTER_PORT": "abc"}, "abc"),
        ([], {"COMPUTE_ROUTER_LOG_LEVEL": "loud"}, "loud"),
        ([], {"COMPUTE_ROUTER_QUEUE_WINDOW_SECONDS": "soon"}, "soon"),
    ],
)
async def test_a_bad_flag_or_variable_is_refused(
    tmp_path: Path, flags: list[str], environ: dict[str, str], expected: str
) -> None:
    if "COMPUTE_ROUTER_PORT" in environ:
        arguments = [arg for arg in run_coordinator() if arg not in ("--port", "0")]
    else:
        arguments = run_coordinator(*flags)
    async with program(arguments, tmp_path, environ) as process:
        assert await process.ended() == 2
    assert expected in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
    assert os.listdir(tmp_path) == [], "nothing was made for it"


async def test_without_a_chain_it_says_which_there_are(tmp_path: Path) -> None:
    script = run_coordinator()[0]
    async with program([script], tmp_path) as process:
        assert await process.ended() == 2
    assert "--chain solana or --chain monad" in process.stderr
    async with program([script, "--port", "0"], tmp_path, {"COMPUTE_ROUTER_CHAIN": "monad"}) as process:
        await process.line("Monad testnet coordinator listening on http://127.0.0.1:")
        assert await process.stop() == 0


async def test_help_names_every_flag_and_its_variable(tmp_path: Path) -> None:
    async with program([run_coordinator()[0], "--help"], tmp_path) as process:
        assert await process.ended() == 0
    for name in (
        *("CHAIN", "HOST", "PORT", "DB", "LOG_LEVEL", "PAYMENTS", "QUEUE_WINDOW_SECONDS", "MAX_TTL_SECONDS"),
        *("MAX_RUN_SECONDS", "MAX_JOBS", "MAX_JOBS_PER_USER", "MAX_CONNECTIONS_PER_ADDRESS"),
        *("MAX_MESSAGES_PER_SECOND", "DRAIN_SECONDS", "KEEP_DAYS"),
    ):
        assert f"--{name.lower().replace('_', '-')} " in process.stdout
        assert f"[COMPUTE_ROUTER_{name}]" in process.stdout


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await refuses_to_start(tmp_path, f"Cannot listen on 127.0.0.1:{port}", "--port", str(port))


async def test_a_second_coordinator_on_the_same_database_is_refused(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        await refuses_to_start(tmp_path, "Another coordinator uses")
        os.symlink("solana.db", tmp_path / "alias.db")
        await refuses_to_start(tmp_path, "Another coordinator uses", "--db", "alias.db")
        assert (await router.http.get("/v1/health")).status_code == 200
        await router.process.kill()
    async with coordinator_process(tmp_path) as router:
        assert await router.process.stop() == 0


async def test_both_chains_run_side_by_side_on_their_own_ports_and_files(tmp_path: Path) -> None:
    """A port that something else on this machine holds is named in the refusal instead."""
    script = run_coordinator()[0]
    solana = program([script, "--chain", "solana"], tmp_path)
    monad = program([script, "--chain", "monad"], tmp_path)
    async with solana as first, monad as second:
        processes = {Chain.SOLANA: first, Chain.MONAD: second}
        said = {
            chain: await process.line(f"127.0.0.1:{NETWORKS[chain].default_port}")
            for chain, process in processes.items()
        }
        for chain, process in processes.items():
            if "Cannot listen" in said[chain]:
                assert await process.ended() == 1
            else:
                await process.line(f"network {NETWORKS[chain].caip2}")
                assert await process.stop() == 0
            assert (tmp_path / NETWORKS[chain].default_database).exists()


async def refuses_to_start(directory: Path, expected: str, *flags: str) -> None:
    """The process ends with 1 and one sentence that says this; it never claimed to listen."""
    async with program(run_coordinator(*flags), directory) as process:
        assert await process.ended() == 1
    (sentence,) = process.stderr.splitlines()
    assert expected in sentence
    assert sentence.startswith("run_coordinator.py: ")
    assert process.stdout == ""
