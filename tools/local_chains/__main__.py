"""Both chains on this machine, with play money, until Ctrl-C: ``python -m tools.local_chains``.

Beside the chains' own methods each has ``local_fund(address, units)``, ``local_fundGas(address)``,
``local_spend(address, units)``, ``local_faults({name: value})``, ``local_advance(seconds)`` and
``local_release()``.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence

from compute_router.protocol.chain_addresses import AddressError, checked_address
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.units import MicroUsd
from tools.local_chains.evm import LocalEvm
from tools.local_chains.solana import LocalSolana

DOLLAR = MicroUsd(1_000_000)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tools.local_chains", description=__doc__.splitlines()[0])
    parser.add_argument("--evm-port", type=int, default=8545, help="port of the EVM chain; 0 for a free one")
    parser.add_argument(
        "--solana-port", type=int, default=8899, help="port of the Solana chain; 0 for a free one"
    )
    parser.add_argument(
        "--fund",
        action="append",
        type=_whose,
        default=[],
        metavar="ADDRESS",
        help="give this address of either chain $1 of play USDC, and gas; may be given several times",
    )
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LocalEvm(arguments.evm_port) as evm, LocalSolana(arguments.solana_port) as solana:
        chains = {Chain.MONAD: evm, Chain.SOLANA: solana}
        print(f"{NETWORKS[Chain.MONAD].label}, played, listening on {evm.rpc_url}", flush=True)
        print(f"{NETWORKS[Chain.SOLANA].label}, played, listening on {solana.rpc_url}", flush=True)
        for chain, address in arguments.fund:
            chains[chain].fund(address, DOLLAR)
            chains[chain].fund_gas(address)
            print(f"  {address} has $1 of play USDC, and gas", flush=True)
        print("Ctrl-C ends both, and with them all that is on them.", flush=True)
        stop.wait()
    return 0


def _whose(text: str) -> tuple[Chain, str]:
    chain = Chain.MONAD if text.startswith("0x") else Chain.SOLANA
    try:
        return chain, checked_address(chain, text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    raise SystemExit(main())
