"""Datasets by symbol and day: work per core-second for 1, 2, 4 … symbols, and by nodes.

The same seconds of the simulated exchange (a second has some 30 frames of a symbol) become a
dataset of the book's tier, over the whole catalogue. In this process: vectors and market rows a
second of CPU time, everything counted from cutting to the manifest; it should not depend on how
many symbols there are. On simulated clusters of nodes with one core each (`ray.cluster_utils`): the
wall time of the same build, the best of a few behind one that warms the workers up, and how much
faster that is than one node. More nodes than the machine has idle cores can bring nothing: wall
time says something on a quiet machine only.
"""

from __future__ import annotations

from benchmarks.common import Figures, arguments, finish, say  # sets the threads, hence first

# isort: split
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from foreshock.labels.barriers import LabelSettings
from foreshock.simulation.settings import SimulationSettings
from pipelines.backfill_history import backfill_simulation
from pipelines.dataset_cut import RecordingSession
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import Built, build_store

SETTINGS = DatasetSettings(labels=LabelSettings(horizons_s=(60, 300)))
SEED = 17
NODE_ROUNDS = 3  # the best counts: whoever shares the machine only adds


def recorded(place: Path, symbols: int, seconds: int) -> RecordingSession:
    """A recording of so many symbols."""
    directory = place / f"{symbols}-symbols"
    backfill_simulation(directory, SimulationSettings(seed=SEED, symbols=symbols), seconds)
    return RecordingSession(str(directory))


def vectors_of(built: Built) -> int:
    """How many boundaries of a symbol were computed."""
    return sum(each["boundaries"] for each in built.document["coverage"].values())


def by_symbols(place: Path, counts: list[int], seconds: int, rounds: int) -> dict[str, Figures]:
    """One process, CPU time; the best of `rounds`, since whoever shares the machine only adds."""
    out: dict[str, Figures] = {}
    sessions = {count: recorded(place, count, seconds) for count in counts}
    build_store(place / "warm", [sessions[counts[0]]], SETTINGS, use_ray=False)
    spent = {count: float("inf") for count in counts}
    for turn in range(rounds):
        for count, session in sessions.items():
            started = time.process_time()
            built = build_store(place / f"{turn}-{count}", [session], SETTINGS, use_ray=False)
            spent[count] = min(spent[count], time.process_time() - started)
            rows = sum(done.market_rows for done in built.done)
            out[f"{count} symbol{'s' * (count > 1)}, in process"] = {
                "vectors per core-second": vectors_of(built) / spent[count],
                "market rows per core-second": rows / spent[count],
                "largest process, MiB": max(d.peak_bytes for d in built.done) / 2**20,
            }
        say(f"round {turn + 1} of {rounds}")
    return out


def by_nodes(place: Path, session: RecordingSession, nodes: int) -> Figures:
    """Wall time on a simulated cluster of so many nodes with one core each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        wall_s = float("inf")
        for turn in range(1 + NODE_ROUNDS):
            started = time.monotonic()
            built = build_store(place / f"{nodes}-{turn}", [session], SETTINGS)
            if turn:  # the first one warms the workers up
                wall_s = min(wall_s, time.monotonic() - started)
    finally:
        ray.shutdown()  # type: ignore[no-untyped-call]
        cluster.shutdown()
    return {
        "vectors per wall-second": vectors_of(built) / wall_s,
        "wall, s": wall_s,
        "task CPU, s": sum(done.cpu_s for done in built.done),
        "largest process, MiB": max(d.peak_bytes for d in built.done) / 2**20,
    }


def main() -> None:
    given = arguments(__doc__)
    os.environ.update(
        RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0"
    )
    counts, seconds = ([1, 2, 4], 300) if given.quick else ([1, 2, 4, 8], 900)
    nodes, many, long_s = ([1, 2], 8, 900) if given.quick else ([1, 2, 4], 8, 1_800)
    with tempfile.TemporaryDirectory(prefix="foreshock-scaling-") as scratch:
        place = Path(scratch)
        results = by_symbols(place, counts, seconds, 2 if given.quick else 3)
        session = recorded(place / "nodes", many, long_s)
        for count in nodes:
            name = f"{many} symbols, {count} node{'s' * (count > 1)}"
            results[name] = by_nodes(place, session, count)
            say(name)

    def figure(name: str, what: str) -> Any:
        return results[name][what]

    first, last = (f"{c} symbol{'s' * (c > 1)}, in process" for c in (counts[0], counts[-1]))
    unit = "vectors per core-second"
    ratios = {
        f"{last} / {first}, {unit}": figure(last, unit) / figure(first, unit),
        **{
            f"{n} nodes / 1 node, vectors per wall-second": figure(
                f"{many} symbols, {n} nodes", "vectors per wall-second"
            )
            / figure(f"{many} symbols, 1 node", "vectors per wall-second")
            for n in nodes[1:]
        },
    }
    finish("scaling", given, results, ratios, "Datasets on Ray")


if __name__ == "__main__":
    main()
