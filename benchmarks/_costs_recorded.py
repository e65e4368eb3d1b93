"""The same on recorded sessions of USD-M: bills at each second, fills by walking the recorded
ladder as it stood after the latency. Ladders are told every 100 ms or less, so that the fill is of
what was told, not of what stood there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks._costs_play import Fills, Floats, Played
from benchmarks.common import ROOT
from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import MS_NS
from foreshock.market.walk import LADDER_NOTIONALS
from foreshock.replay.driver import replay, replay_raw, tape_of
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance import BinanceSession

_HFT: Final = "ws_raw/hftbacktest/usdm"
SESSIONS: Final = (  # each over midnight, in two files
    ("btcusdt_20230404.dat.gz", "btcusdt_20230405.dat.gz"),
    ("btcusdt_20240718.gz", "btcusdt_20240719.gz"),
    ("ethusdt_20240718.gz", "ethusdt_20240719.gz"),
)
NOTIONALS: Final = (1e3, 1e4, 1e5, 1e6)
_MINUTE: Final = 60


def sessions() -> list[list[Path]]:
    """The files of those that are at hand (FORESHOCK_RECORDINGS says where), maybe none."""
    place = Path(os.environ.get("FORESHOCK_RECORDINGS", ROOT.parent / "shared" / "data")) / _HFT
    found = [[place / name for name in names] for names in SESSIONS]
    return [paths for paths in found if all(path.is_file() for path in paths)]


def played_of(paths: list[Path], latency_ms: int) -> Played:
    """One session. A second engine, whose boundaries lie `latency_ms` behind those of the first,
    says what was there when our orders arrived."""
    given, few = read_raw_session(paths), FeatureSettings(families=("context",))
    session = BinanceSession(given.instruments, tape=tape_of(given.events))
    first = Engine(given.instruments, few)
    rows, decided = [], []
    for batch, closed in replay_raw(first, session, given.events):
        rows.append(batch)
        decided += closed
    later = Engine(given.instruments, few, phase_ns=latency_ms * MS_NS)
    filled = {b.boundary_ns - latency_ms * MS_NS: b.bill_inputs for b in replay(later, rows)}
    decided = [b for b in decided if b.boundary_ns in filled]
    now = np.array([b.bill_inputs for b in decided])
    then = np.array([filled[b.boundary_ns] for b in decided])
    columns = {q: LADDER_NOTIONALS.index(q) for q in NOTIONALS}
    fills = {
        q: Fills(then["ask_walk_bps"][..., k], then["bid_walk_bps"][..., k])
        for q, k in columns.items()
    }
    mid = (now["bid"] + now["ask"]) / 2.0
    return Played(now, mid, then["bid"], then["ask"], fills, np.zeros(mid.shape), {})


def by_minute(pair: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """(decisions, n) as (60, minutes · n): a minute of a symbol is a cluster."""
    whole = len(pair[0]) // _MINUTE * _MINUTE

    def cut(values: Floats) -> Floats:
        out: Floats = values[:whole].reshape(-1, _MINUTE, values.shape[1])
        return out.transpose(1, 0, 2).reshape(_MINUTE, -1)

    return cut(pair[0]), cut(pair[1])
