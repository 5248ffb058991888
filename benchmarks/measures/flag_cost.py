"""What audits cost, and API keys: coordinators that differ in one flag, in windows that take turns.

Two processes with the same flags differ too, in where their memory happens to lie. So each round has new
ones.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from benchmarks.load import CLIENTS, Measured, StandingSeekers, seeker_name
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import coordinator
from benchmarks.turns import Cycle, Turn, others_figure, take_turns, turn_figures
from benchmarks.worker_pool import WorkerPool
from compute_router.protocol.api_keys import KeyRequest, KeyScope
from compute_router.protocol.units import UnixMs
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store

NO_AUDITS: Final = "--audit-share 0"
DEFAULTS: Final = "the default flags, which audit one task in a hundred"
API_KEYS: Final = "--auth keys, a key for each user"
_WORKERS: Final = 50
_FIRST: Final = Seconds(0.7)
_WARM_UP: Final = Seconds(0.06)


async def flag_cost(scale: Scale) -> list[Figure]:
    """Measure all rounds."""
    patience = Patience(scale.extra_windows)
    cycles = [cycle for _ in range(scale.flag_rounds) for cycle in await _round(scale, patience)]
    return [
        *turn_figures(cycles, [NO_AUDITS, DEFAULTS], {}),
        *turn_figures(cycles, [DEFAULTS, API_KEYS], {})[1::2],
        others_figure(cycles),
    ]


async def _round(scale: Scale, patience: Patience) -> list[Cycle]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compute-router-benchmark-")))
        database = directory / "keys.db"
        api_keys = _make_api_keys(database)

        async def ready(*flags: str, with_keys: bool = False) -> Turn:
            server = await stack.enter_async_context(
                coordinator(*flags, database=database if with_keys else None)
            )
            pool = WorkerPool(server.port)
            await pool.connect(_WORKERS)
            stack.push_async_callback(pool.close)
            seekers = StandingSeekers(server)
            await seekers.connect(api_keys if with_keys else None)
            stack.callback(seekers.close)

            async def turn(length: Seconds) -> Measured:
                return await pool.guard(seekers.load(_WARM_UP, length))

            # Workers begin as newcomers, who are not asked to repeat the work of others.
            await turn(_FIRST)
            return partial(turn, scale.turn)

        # What is compared is next to each other.
        turns = {
            NO_AUDITS: await ready("--audit-share", "0"),
            DEFAULTS: await ready(),
            API_KEYS: await ready("--auth", "keys", with_keys=True),
        }
        return await take_turns(turns, scale.flag_pairs, patience)


def _make_api_keys(database: Path) -> list[str]:
    """A database with a key for the user of each seeker."""
    open_sqlite_store(database).close()
    now = UnixMs(time.time_ns() // 1_000_000)
    wanted = [KeyRequest(KeyScope.USER, user_id=seeker_name(index)) for index in range(CLIENTS)]
    return [make_api_key(database, each, now) for each in wanted]
