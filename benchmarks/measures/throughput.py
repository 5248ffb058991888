"""Jobs per second, latency under load and processor time per job, against bare Tornado.

The rounds are interleaved, and every round measures the baseline too, so that a machine that becomes
slower or faster during the run changes both sides of a ratio.
"""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.figures import Figure, median, milliseconds, percentile, spread
from benchmarks.load import CLIENTS, QUIET_SHARE, Measured, load_hello, load_jobs
from benchmarks.load_log import Seconds
from benchmarks.patience import Patience
from benchmarks.scale import Scale
from benchmarks.servers import Server, baseline, coordinator
from benchmarks.worker_pool import WorkerPool

TARGET_TO_HELLO: Final = 1_100 / 6_700
TARGET_FLATNESS: Final = 0.85
TARGET_CPU: Final = 1.5
_SMALL_POOL: Final = 50


class Round(msgspec.Struct, frozen=True):
    """All windows of one round; bare exchanges and jobs by the number of connected workers."""

    hello: Measured
    exchange: dict[int, Measured]
    jobs: dict[int, Measured]

    def windows(self) -> list[Measured]:
        """Every window of this round."""
        return [self.hello, *self.exchange.values(), *self.jobs.values()]


async def throughput(scale: Scale) -> list[Figure]:
    """Measure all rounds."""
    patience = Patience(scale.extra_windows)
    rounds = [await _round(scale, number, patience) for number in range(scale.rounds)]
    return [*_baseline_figures(rounds), *_job_figures(rounds, scale), *_cpu_figures(rounds)]


async def _round(scale: Scale, number: int, patience: Patience) -> Round:
    async with baseline() as server:
        hello = await load_hello(server, scale.warm_up, scale.baseline_window, patience)
    # Every other round goes from the large pool to the small one.
    pools = scale.pools if number % 2 == 0 else scale.pools[::-1]
    exchange, jobs = {}, {}
    for workers in pools:
        # Many open sockets slow bare Tornado down as well, so it gets as many.
        async with baseline() as server:
            exchange[workers] = await _jobs(server, scale, workers, scale.baseline_window, patience)
        async with coordinator() as server:
            jobs[workers] = await _jobs(server, scale, workers, scale.window, patience)
        print(
            f"  round {number + 1}: {workers:,} workers, {jobs[workers].per_second:,.0f} jobs/s, "
            f"{exchange[workers].per_second:,.0f} bare exchanges/s",
            flush=True,
        )
    return Round(hello, exchange, jobs)


async def _jobs(server: Server, scale: Scale, workers: int, window: Seconds, patience: Patience) -> Measured:
    pool = WorkerPool(server.port)
    await pool.connect(workers)
    measured = await pool.guard(load_jobs(server, scale.warm_up, window, patience))
    await pool.close()
    return measured


def _baseline_figures(rounds: list[Round]) -> list[Figure]:
    hello = [each.hello.per_second for each in rounds]
    figures = [
        Figure("Tornado hello-world, one core", f"{median(hello):,.0f} requests/s ({spread(hello)})", "1")
    ]
    for workers in rounds[0].exchange:
        rates = [each.exchange[workers].per_second for each in rounds]
        to_hello = median(each.exchange[workers].per_second / each.hello.per_second for each in rounds)
        figures.append(
            Figure(
                f"bare exchange, {workers:,} sockets, {CLIENTS} clients",
                f"{median(rates):,.0f} exchanges/s ({spread(rates)})",
                f"{to_hello:.3f} x hello-world",
            )
        )
    return figures


def _job_figures(rounds: list[Round], scale: Scale) -> list[Figure]:
    figures = []
    for workers in scale.pools:
        rates = [each.jobs[workers].per_second for each in rounds]
        to_hello = median(each.jobs[workers].per_second / each.hello.per_second for each in rounds)
        targeted = workers == _SMALL_POOL
        figures.append(
            Figure(
                f"jobs, {workers:,} workers, {CLIENTS} seekers",
                f"{median(rates):,.0f} jobs/s ({spread(rates)})",
                f"{to_hello:.3f} x hello-world",
                f"at least {TARGET_TO_HELLO:.3f} x" if targeted else "",
                to_hello >= TARGET_TO_HELLO if targeted else None,
            )
        )
    figures += [_latency_figure(rounds, workers, percent) for workers in scale.pools for percent in (50, 99)]
    figures += [_flatness_figure(rounds, workers) for workers in scale.pools[1:]]
    return figures


def _flatness_figure(rounds: list[Round], workers: int) -> Figure:
    flatness = [each.jobs[workers].per_second / each.jobs[_SMALL_POOL].per_second for each in rounds]
    bare = median(
        each.exchange[workers].per_second / each.exchange[_SMALL_POOL].per_second for each in rounds
    )
    return Figure(
        f"flatness: {workers:,} workers against {_SMALL_POOL}",
        f"{median(flatness):.3f} ({spread(flatness)})",
        f"bare exchange: {bare:.3f}",
        f"at least {TARGET_FLATNESS}",
        median(flatness) >= TARGET_FLATNESS,
    )


def _latency_figure(rounds: list[Round], workers: int, percent: int) -> Figure:
    latency = median(percentile(each.jobs[workers].latencies, percent) for each in rounds)
    ratio = median(
        percentile(each.jobs[workers].latencies, percent)
        / percentile(each.exchange[workers].latencies, percent)
        for each in rounds
    )
    return Figure(
        f"latency under that load, {workers:,} workers, p{percent}",
        milliseconds(latency),
        f"{ratio:.2f} x bare exchange",
    )


def _cpu_figures(rounds: list[Round]) -> list[Figure]:
    figures = []
    for workers in rounds[0].jobs:
        bare = median(each.exchange[workers].cpu_each for each in rounds)
        cost = median(each.jobs[workers].cpu_each for each in rounds)
        ratio = median(each.jobs[workers].cpu_each / each.exchange[workers].cpu_each for each in rounds)
        targeted = workers == _SMALL_POOL
        figures += [
            Figure(f"processor time of a bare exchange, {workers:,} sockets", f"{bare * 1e6:,.0f} µs", "1"),
            Figure(
                f"coordinator's processor time per job, {workers:,} workers",
                f"{cost * 1e6:,.0f} µs",
                f"{ratio:.2f} x bare exchange",
                f"at most {TARGET_CPU} x" if targeted else "",
                ratio <= TARGET_CPU if targeted else None,
            ),
        ]
    generator = median(each.jobs[_SMALL_POOL].generator_cpu_each for each in rounds)
    others = [measured.others_share for each in rounds for measured in each.windows()]
    figures += [
        Figure("load generator's processor time per job", f"{generator * 1e6:,.0f} µs"),
        Figure(
            "processors taken by anything else meanwhile",
            f"{median(others):.1%} (at most {max(others):.1%})",
            "",
            f"at most {QUIET_SHARE:.0%}, or the figures above say little",
            max(others) <= QUIET_SHARE,
        ),
    ]
    return figures
