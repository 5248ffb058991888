"""``python -m tools.local_chains --evm-port 8545 --solana-port 8899``: both chains until Ctrl-C.

Beside the chains' own methods each has ``local_fund(address, units)``, ``local_fundGas(address)``,
``local_spend(address, units)``, ``local_faults({name: value})``, ``local_advance(seconds)`` and
``local_release()``.
"""

from __future__ import annotations

import argparse
import signal
import threading

from tools.local_chains.evm import LocalEvm
from tools.local_chains.solana import LocalSolana


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tools.local_chains", description=__doc__.splitlines()[0])
    parser.add_argument("--evm-port", type=int, default=8545, help="port of the EVM chain; 0 for a free one")
    parser.add_argument(
        "--solana-port", type=int, default=8899, help="port of the Solana chain; 0 for a free one"
    )
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LocalEvm(arguments.evm_port) as evm, LocalSolana(arguments.solana_port) as solana:
        print(f"evm chain {evm.chain_id} listening on {evm.rpc_url} with the token {evm.token}", flush=True)
        print(f"solana chain listening on {solana.rpc_url} with the mint {solana.token}", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
