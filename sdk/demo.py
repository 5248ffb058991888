"""The command ``demo``: the whole network on one machine, three jobs, and nothing left afterwards."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.sdk.cli_output import say
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.demo_network import start_coordinator, start_workers
from compute_router.sdk.demo_ollama import why_no_inference
from compute_router.sdk.demo_processes import Processes
from compute_router.sdk.demo_scenarios import run_scenarios
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.settings import checked_url
from compute_router.sdk.sync_client import ComputeRouter

_USER: Final = "demo-user"


def demo(arguments: argparse.Namespace) -> ExitCode:
    """Run the demo. Whatever happens, its processes are stopped, and its directory goes unless it is kept."""
    ollama_url = checked_url(arguments.ollama)
    directory = Path(tempfile.mkdtemp(prefix="compute-router-demo-"))
    try:
        with Interrupts() as interrupts:
            processes = Processes(directory, interrupts)
            try:
                with processes:
                    return _run(processes, Chain(arguments.chain), ollama_url)
            finally:
                # Again, for an interrupt can strike just as the stopping begins; it does so only once.
                processes.stop()
    finally:
        if arguments.keep:
            say(f"Keys, database and logs are in {directory}")
        else:
            shutil.rmtree(directory)


def _run(processes: Processes, chain: Chain, ollama_url: str) -> ExitCode:
    try:
        print(f"Starting a coordinator for {NETWORKS[chain].label} ...", flush=True)
        url = start_coordinator(processes, chain)
        print(f"It listens on {url}. Starting three workers ...", flush=True)
        trust_file = processes.directory / "trust.json"
        with ComputeRouter(
            url,
            chain=chain,
            user_id=_USER,
            api_key="",
            trust_file=trust_file,
            wallet="",
            require_verified=True,
        ) as router:
            network = start_workers(processes, router, ollama_url)
            print("All three are online. Running three jobs.", flush=True)
            run_scenarios(network, why_no_inference(ollama_url))
    except ComputeRouterError as error:
        _report(error, processes)
        return ExitCode.FAILED
    print("\nDone. Stopping everything.", flush=True)
    return ExitCode.OK


def _report(error: ComputeRouterError, processes: Processes) -> None:
    say(f"compute-router demo: {error}")
    for name, lines in processes.tails().items():
        say(f"--- last lines of the {name}")
        for line in lines:
            say(f"    {line}")
