"""Writes ``token/usdc.json``, the ABI and the runtime code of the play token.

To be run after a change of ``token/usdc.vy``: ``python -m tools.local_chains.compile_token``.
The Vyper compiler has an environment of its own; nothing else needs it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tools.environment import own_environment

TOKEN: Final = Path(__file__).parent / "token"
_COMPILER: Final = "vyper==0.4.3"
_NAME: Final = "transferWithAuthorization"


def source_digest() -> str:
    """SHA-256 of the source, by which a test sees that the code is of this source."""
    return hashlib.sha256((TOKEN / "usdc.vy").read_bytes()).hexdigest()


def main() -> None:
    """Compile, and add the form of transferWithAuthorization that Vyper cannot declare a second time."""
    python = own_environment("vyper", _COMPILER)
    command = [python, "-m", "vyper", "-f", "abi,bytecode_runtime", str(TOKEN / "usdc.vy")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    abi: list[dict[str, Any]] = json.loads(printed[0])
    declared = next(entry for entry in abi if entry.get("name") == _NAME)
    *common, _, _, _ = declared["inputs"]
    abi.append({**declared, "inputs": [*common, {"name": "signature", "type": "bytes"}]})
    abi = [entry for entry in abi if entry["type"] != "fallback"]
    compiled = {"compiler": _COMPILER, "source": source_digest(), "abi": abi, "runtime": printed[1]}
    (TOKEN / "usdc.json").write_text(json.dumps(compiled, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
