"""What every symbol does reaches every watcher, one boundary late, and is recorded like any row; so
are slow series, from a watcher's start on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from actors.local_exchange import LocalExchange, LocalExchangeSettings
from actors.plan import WatchPlan
from actors.venue import fetch_instruments
from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.market.instruments import SPOT
from foreshock.market.rows import (
    ALL,
    BACKFILL,
    BAR,
    CONTEXT,
    CONTEXT_LEADER,
    CONTEXT_SERIES,
    CONTEXT_VOLUME_RANK,
    Rows,
    heads,
)
from foreshock.models.base import Domain
from foreshock.replay.reconcile import reconcile
from foreshock.replay.remake import session_like
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import Recording, open_recording
from foreshock.stores.series_settings import SeriesSource, SeriesSources

SYMBOLS = 5
PATIENCE_S = 120.0
FEATURES = FeatureSettings(families=("flow", "context", "series"))


@pytest.fixture(scope="module")
def exchange() -> Iterator[LocalExchange]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    simulation = SimulationSettings.model_validate({"symbols": SYMBOLS})
    played = LocalExchange(LocalExchangeSettings(simulation=simulation))
    try:
        asyncio.run_coroutine_threadsafe(played.start(), loop).result(60)
        yield played
    finally:
        asyncio.run_coroutine_threadsafe(played.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def recorded(
    local_ray: Any, exchange: LocalExchange, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Recording], dict[str, Any]]:
    """Two watchers' recordings of some seconds, and the last status."""
    from actors.supervisor import SupervisorActor

    home = tmp_path_factory.mktemp("context")
    place, today = home / "watcher", datetime.now(UTC)
    days = [f"{today - timedelta(days=ago):%Y-%m-%d},{ago}\n" for ago in range(2, 300)]
    (home / "fear.csv").write_text("date,fng\n" + "".join(days))
    fear = SeriesSource(series="fear_greed", path=home / "fear.csv", column="fng")
    plan = WatchPlan(
        name="w", instruments=tuple(fetch_instruments(SPOT, exchange.rest_url)),
        domain=Domain(source="simulation", market=SPOT, tier="tape"),
        ws_url=exchange.ws_url, rest_url=exchange.rest_url, recording_dir=place,
        features=FEATURES, snapshots_per_s=50.0, series=SeriesSources(sources=(fear,)),
    )  # fmt: skip
    supervisor = SupervisorActor.options(num_cpus=0.05, max_concurrency=32).remote(plan, 2)
    life = supervisor.run.remote()
    limit_s = time.monotonic() + PATIENCE_S
    status: dict[str, Any] = {}
    try:
        while status.get("context", {}).get("boundaries", 0) < 8:
            assert time.monotonic() < limit_s, status
            time.sleep(0.3)
            status = local_ray.get(supervisor.status.remote())
    finally:
        local_ray.get(supervisor.stop.remote(), timeout=30)
        local_ray.kill(supervisor)
        del life
    return [open_recording(place / f"{k}-0") for k in range(2)], status


def context_of(recording: Recording) -> Rows:
    rows: Rows = np.concatenate(list(recording.rows()))
    rows = rows[heads(rows)]
    return rows[rows["kind"] == CONTEXT]


def test_every_watcher_is_told_of_all_symbols_and_of_its_own(
    recorded: tuple[list[Recording], dict[str, Any]], exchange: LocalExchange
) -> None:
    recordings, status = recorded
    assert status["context"]["boundaries"] >= 8
    seen: dict[int, dict[tuple[int, int], float]] = {}
    ranks: dict[int, dict[str, float]] = {}
    for recording in recordings:
        symbols = [instrument.symbol for instrument in recording.instruments]
        rows = context_of(recording)
        assert len(rows)
        assert (rows["id2"] % 10**9 == 0).all()
        assert (rows["id2"] < rows["id"]).all() and (rows["id"] <= rows["arrival_ns"]).all()
        for row in rows:
            of, value = int(row["id2"]), float(row["b"].view(np.float64))
            if row["symbol"] == ALL:
                told = seen.setdefault(of, {})
                assert told.setdefault((0, int(row["a"])), value) == value  # the same to both
            elif row["a"] == CONTEXT_VOLUME_RANK:
                ranks.setdefault(of, {})[symbols[row["symbol"]]] = value
    assert any((0, CONTEXT_LEADER) in told for told in seen.values())
    # Of some boundary all told in time: each symbol has a place of its own among all.
    whole = [told for told in ranks.values() if set(told) == set(exchange.source.symbols)]
    assert whole and all(min(told.values()) == 0.0 and max(told.values()) == 1.0 for told in whole)


def test_vectors_have_it_one_boundary_later_and_a_replay_gives_the_same_bits(
    recorded: tuple[list[Recording], dict[str, Any]],
) -> None:
    recordings, _ = recorded
    column = catalog.layout(FEATURES).names.index("volume_rank")
    for recording in recordings:
        told = {int(row["id2"]) for row in context_of(recording)}
        known = {
            boundary.boundary_ns
            for boundary in recording.vectors()
            if np.isfinite(boundary.vectors[:, column]).any()
        }
        assert known and {boundary_ns - 10**9 for boundary_ns in known} <= told
        found = reconcile(recording, session=session_like(recording))
        assert found.first is None and found.compared["vectors"] > 0, found
        assert found.compared["frames"] > 0


def test_a_watcher_begins_with_what_is_known_of_slow_series(
    recorded: tuple[list[Recording], dict[str, Any]],
) -> None:
    recordings, status = recorded
    assert status["series"] == {"connected": ["fear_greed"], "problems": {}}
    names = catalog.layout(FEATURES).names
    level, dominance = (names.index(name) for name in ("fear_greed_index", "btc_dominance"))
    for recording in recordings:
        rows = context_of(recording)
        slow = rows[rows["a"] >= CONTEXT_SERIES]
        assert len(slow) == 256 and (np.diff(slow["id2"]) > 0).all()
        assert slow["b"].view(np.float64).tolist() == [float(257 - k) for k in range(256)]
        vectors = np.concatenate([boundary.vectors for boundary in recording.vectors()])
        assert (vectors[1:, level] == 2.0).all() and np.isnan(vectors[:, dominance]).all()


def test_a_watcher_begins_with_the_bars_of_a_day(
    recorded: tuple[list[Recording], dict[str, Any]],
) -> None:
    for recording in recorded[0]:
        rows: Rows = np.concatenate(list(recording.rows()))
        rows = rows[heads(rows)]
        for symbol in range(len(recording.instruments)):
            mine = (rows["kind"] == BAR) & (rows["symbol"] == symbol)
            past = rows[mine & ((rows["flags"] & BACKFILL) != 0)]
            assert len(past) > 24 * 60 and (np.diff(past["id"]) == 60 * 10**9).all()
            assert (past["b"] == 1).all()
            live = rows[mine & ((rows["flags"] & BACKFILL) == 0)]
            assert (live["id"] > past["id"][-1]).all()
