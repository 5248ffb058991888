"""The whole of paying on one machine: ``make demo-paid``.

Two chains, two coordinators with payments on and facilitators of their own, a worker each. A seeker with a
play wallet pays for finished jobs on both chains, and not for one that fails. The operator pays the workers.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from compute_router.protocol.errors import ComputeRouterError
from compute_router.sdk.cli_output import say
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.demo_processes import DemoFailedError, Processes
from compute_router.sdk.exit_codes import ExitCode
from tools.failing_model import FailingModel


def main() -> int:
    """Run the demo; the exit code. Whatever happens, its processes are stopped and its directory goes."""
    parser = argparse.ArgumentParser(prog="make demo-paid", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="keep keys, databases and logs")
    keep = parser.parse_args().keep
    directory = Path(tempfile.mkdtemp(prefix="compute-router-demo-paid-"))
    try:
        with Interrupts() as interrupts:
            processes = Processes(directory, interrupts)
            try:
                with processes:
                    return _run(processes)
            except KeyboardInterrupt:
                return ExitCode.INTERRUPTED
            finally:
                processes.stop()
    finally:
        if keep:
            say(f"Keys, databases and logs are in {directory}")
        else:
            shutil.rmtree(directory)


def _run(processes: Processes) -> ExitCode:
    started_at = time.monotonic()
    print("Starting two chains, two coordinators with payments on, and a worker each ...", flush=True)
    # Imported late, because the chains take most of a second, and Ctrl-C may come meanwhile.
    from tools.paid_networks import paid_networks
    from tools.paid_story import tell

    try:
        with FailingModel() as model, paid_networks(processes, model.url) as networks:
            for network in networks:
                try:
                    tell(network)
                except ComputeRouterError as error:
                    raise DemoFailedError(f"{network.label}: {error}") from error
    except ComputeRouterError as error:
        say(f"demo-paid: {error}")
        for name, lines in processes.tails().items():
            say(f"--- last lines of the {name}")
            for line in lines:
                say(f"    {line}")
        return ExitCode.FAILED
    print(f"\nEvery balance is right. That took {time.monotonic() - started_at:.1f} s.", flush=True)
    return ExitCode.OK


if __name__ == "__main__":
    raise SystemExit(main())
