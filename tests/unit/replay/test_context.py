"""Context that is put into an input afterwards is what a session would have had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.context import GATHER_NS, GatherSettings
from foreshock.market.rows import ALL, BAR, CONTEXT, METRIC, MODELLED, Rows, as_words, heads
from foreshock.replay.context import with_context
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import Recording, open_recording
from pipelines.backfill_history import backfill_simulation

MARKET = SimulationSettings.model_validate({"seed": 9, "symbols": 4, "market": "binance-usdm"})
SECONDS = 100
GATHERED = GatherSettings(windows_s=(5, 60), least_symbols=2)
FEATURES = FeatureSettings(families=("context",))
OURS = FEATURES.model_copy(
    update={"context": FEATURES.context.model_copy(update={"gathered": GATHERED})}
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    place = tmp_path_factory.mktemp("context") / "history"
    backfill_simulation(place, MARKET, SECONDS, OURS)
    return open_recording(place)


def whole(batches: object) -> Rows:
    return np.concatenate(list(batches))  # type: ignore[call-overload]


def cold(history: Recording) -> Engine:
    return Engine(history.instruments, FEATURES)


def without_context(rows: Rows) -> Rows:
    """Pack rows stay with their headers."""
    at = heads(rows)
    keep = np.ones(len(rows), bool)
    keep[at[rows["kind"][at] == CONTEXT]] = False
    return rows[keep].copy()


def told(rows: Rows) -> list[tuple[int, int, int, int]]:
    """(boundary, symbol, field, value bits), sorted."""
    at = heads(rows)
    mine = rows[at][rows["kind"][at] == CONTEXT]
    return sorted(zip(*(mine[name].tolist() for name in ("id2", "symbol", "a", "b")), strict=True))


def test_a_made_history_has_the_context_of_every_boundary_at_the_moment_it_is_known(
    history: Recording,
) -> None:
    rows = whole(history.rows())
    at = heads(rows)
    mine = rows[at][rows["kind"][at] == CONTEXT]
    assert (mine["id"] == mine["id2"] + GATHER_NS).all()
    assert (mine["arrival_ns"] >= mine["id"]).all()
    assert (mine["arrival_ns"] < mine["id2"] + 10**9).all()
    last = MARKET.start_ns + (SECONDS - 1) * 10**9
    assert set(mine["id2"]) == set(range(MARKET.start_ns + 10**9, last + 1, 10**9))
    assert set(mine["symbol"]) == {ALL, 0, 1, 2, 3}


def test_a_made_history_begins_with_a_day_of_bars_and_has_what_is_polled(
    history: Recording,
) -> None:
    rows = whole(history.rows())
    at = heads(rows)
    for symbol in range(4):
        bars = rows[at][(rows["kind"][at] == BAR) & (rows["symbol"][at] == symbol)]
        closed = np.unique(bars["id"][bars["b"] == 1])
        assert (np.diff(closed) == 60 * 10**9).all() and len(closed) > 24 * 60
        metrics = rows[at][(rows["kind"][at] == METRIC) & (rows["symbol"][at] == symbol)]
        assert set(metrics["a"]) == {1, 3, 4, 5, 6, 7}  # the value of open interest is not polled


def test_context_put_in_afterwards_equals_what_a_session_had(history: Recording) -> None:
    rows = whole(history.rows())
    bare = without_context(rows)
    cuts = [0, 1, 4_000, 4_000, 9_001, len(bare)]
    at = heads(bare)
    edges = [int(at[min(np.searchsorted(at, cut), len(at) - 1)]) for cut in cuts[:-1]]
    batches = [bare[a:b] for a, b in zip(edges, [*edges[1:], len(bare)], strict=True)]
    made = whole(with_context(batches, cold(history), GATHERED))
    assert told(made) == told(rows)
    assert (without_context(made)["arrival_ns"] == bare["arrival_ns"]).all()
    index = heads(made)
    assert made["seq"][index].tolist() == list(range(len(index)))
    assert (np.diff(made["arrival_ns"][index]) >= 0).all()
    context = made["kind"][index] == CONTEXT
    assert ((made["flags"][index] & MODELLED) != 0)[context].all()
    packs = np.setdiff1d(np.arange(len(made)), index)
    old_packs = np.setdiff1d(np.arange(len(bare)), at)
    assert as_words(made)[packs].tobytes() == as_words(bare)[old_packs].tobytes()

    def vectors(given: Rows) -> bytes:
        engine = Engine(history.instruments, OURS)
        return b"".join(boundary.vectors.tobytes() for boundary in engine.feed(given))

    assert vectors(made) == vectors(rows)


def test_what_comes_later_changes_no_context_of_before(history: Recording) -> None:
    bare = without_context(whole(history.rows()))
    at = heads(bare)
    half = int(at[len(at) // 2])
    some = whole(with_context([bare[:half]], cold(history), GATHERED))
    every = whole(with_context([bare], cold(history), GATHERED))
    assert every[: len(some)].tobytes() == some.tobytes()


def test_features_that_do_not_look_at_others_have_no_context_made(tmp_path: Path) -> None:
    alone = FeatureSettings(families=("flow",))
    backfill_simulation(tmp_path / "alone", MARKET, 4, alone)
    assert not told(whole(open_recording(tmp_path / "alone").rows()))
