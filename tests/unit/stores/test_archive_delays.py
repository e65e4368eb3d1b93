"""foreshock.stores.archive_delays: modelled arrival, and how near it comes to what was recorded."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import ArchiveError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import SPOT, USDM
from foreshock.stores.archive_delays import LEVELS, measured, recorded
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History
from foreshock.stores.importers import import_file

EVENTS = 1_700_000_000 * 10**9 + np.cumsum(np.random.default_rng(3).integers(0, 40, 5000)) * MS_NS


def test_a_draw_depends_on_the_event_alone_whatever_the_batches() -> None:
    delays = recorded("near", USDM)
    whole = delays.draw(EVENTS, 1, "BTCUSDT")
    cuts = [0, 1, 700, 701, 5000]
    pieces = [delays.draw(EVENTS[a:b], 1, "BTCUSDT") for a, b in pairwise(cuts)]
    assert (np.concatenate(pieces) == whole).all()
    assert (delays.draw(EVENTS, 2, "BTCUSDT") != whole).mean() > 0.9
    assert (delays.draw(EVENTS, 1, "ETHUSDT") != whole).mean() > 0.9


def test_arrival_never_runs_backwards_and_carries_over_batches() -> None:
    delays = recorded("near", SPOT)
    whole = delays.arrivals(EVENTS, 1, "BTCUSDT")
    assert (np.diff(whole) >= 0).all() and (whole > EVENTS).all()
    front = delays.arrivals(EVENTS[:900], 1, "BTCUSDT")
    rest = delays.arrivals(EVENTS[900:], 1, "BTCUSDT", int(front[-1]))
    assert (np.concatenate([front, rest]) == whole).all()
    assert len(delays.arrivals(EVENTS[:0], 1, "BTCUSDT")) == 0


@pytest.mark.parametrize(
    ("market", "pattern", "tolerance_ms"),
    [(SPOT, "*trade_stream_spot_trxusdt*", 0.01), (USDM, "test*trade_stream_usd_m*", 0.02)],
)
def test_the_shipped_quantiles_are_those_of_the_recordings(
    recordings: Path, tmp_path: Path, market: str, pattern: str, tolerance_ms: float
) -> None:
    (path,) = recordings.glob(f"ticks/qa/{pattern}")
    history = History(tmp_path)
    import_file(history, path)
    series = Series(market, "trades", "", "TRXUSDT")
    ((_, table),) = history.read(series, date(2025, 3, 4), date(2025, 3, 4))
    arrival, event = (table.column(n).to_numpy() for n in ("arrival_ns", "event_ns"))
    found, shipped = measured("own", arrival, event), recorded("near", market)
    for level, ns, told in zip(LEVELS, found.ns, shipped.ns, strict=True):
        assert abs(ns - told) <= max(tolerance_ms * MS_NS, 0.005 * ns), level
    levels = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    drawn = [shipped.arrivals(event, seed, "TRXUSDT") - event for seed in range(15)]
    modelled = np.median([np.quantile(d, levels) for d in drawn], axis=0)
    ratios = modelled / np.quantile(arrival - event, levels)
    assert (np.abs(ratios[:3] - 1) < 0.1).all(), ratios
    assert (ratios[3:] > 0.8).all() and (ratios[3:] < 2).all(), ratios


def test_far_is_later_than_near_and_other_names_are_refused() -> None:
    for market in (SPOT, USDM):
        near, far = recorded("near", market), recorded("far", market)
        assert far.ns[4] > 10 * near.ns[4]
        assert all(np.diff(far.ns) >= 0) and all(np.diff(near.ns) >= 0)
    with pytest.raises(ArchiveError, match="neither near nor far"):
        recorded("nowhere", SPOT)


def test_a_clock_behind_the_venue_measures_nothing() -> None:
    with pytest.raises(ArchiveError, match="clock behind"):
        measured("own", EVENTS - 5 * MS_NS, EVENTS)
    with pytest.raises(ArchiveError, match="12 rows"):
        measured("own", EVENTS[:12], EVENTS[:12])
