"""After `foreshock warm` nothing is compiled any more: not in a copy of the tree, as an uploaded
working directory is one, and not for features with other parameters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json
from pathlib import Path
import foreshock
from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import cache_root

def kept():
    return {str(path.relative_to(cache_root())) for path in cache_root().rglob("*.nbc")}

before = kept()
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.venues.binance import BinanceSession
import numpy as np

settings = SimulationSettings(symbols=3, seed=5)
exchange = SimulatedExchange(settings)
instruments = exchange.instruments()
session = BinanceSession(instruments)
other = FeatureSettings.model_validate({"flow": {"imbalance_s": [7, 20, 45], "half_lives_s": [3]}})
engines = [Engine(instruments), Engine(instruments, other)]
first = session.start(exchange.now_ns)
closed = [len(engine.feed(first)) for engine in engines]
for second in range(3):
    until_ns = exchange.now_ns + SECOND_NS
    got = exchange.advance_buffer(until_ns)
    batches = [session.receive_buffer(got.data, got.starts, np.sort(got.event_ns))]
    for asked in session.wanted():
        body = exchange.depth(asked.symbol, asked.levels)
        batches.append(session.receive_snapshot(asked.symbol, body, asked.levels, until_ns))
    batches.append(session.timer(until_ns))
    for rows in batches:
        closed = [n + len(engine.feed(rows)) for n, engine in zip(closed, engines)]
print(json.dumps({"at": foreshock.__file__, "new": sorted(kept() - before), "closed": closed}))
"""


def test_nothing_is_compiled_in_a_copy_of_the_tree_once_it_is_warm(tmp_path: Path) -> None:
    foreshock = Path(sys.executable).with_name("foreshock")
    done = subprocess.run(
        [str(foreshock), "warm", "--json"], capture_output=True, text=True, cwd=ROOT, timeout=110
    )
    assert done.returncode == 0 and json.loads(done.stdout)["missing"] == [], done.stderr
    elsewhere = tmp_path / "upload"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "foreshock", elsewhere / "foreshock", ignore=ignored)
    environment = {**os.environ, "PYTHONPATH": str(elsewhere)}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=elsewhere,
        env=environment, timeout=110,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["at"].startswith(str(elsewhere))
    assert min(told["closed"]) >= 3
    assert told["new"] == []
