from __future__ import annotations

from dataclasses import replace

import numpy as np

from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.replay.coldness import Coldness, compare, ulps
from tests.unit.engine.test_step import BTC, RowMaker, begun, seconds


def test_units_in_the_last_place_are_counted_across_zero_and_powers_of_two() -> None:
    values = np.array([1.0, 2.0, 0.0, -1.0, 5.0], np.float32)
    assert ulps(values, values).tolist() == [0] * 5
    up = np.nextafter(values, np.float32(np.inf))
    assert ulps(values, up).tolist() == [1] * 5
    tiny = np.float32(1e-45)
    assert ulps(np.array([tiny]), np.array([-tiny])).tolist() == [2]
    assert ulps(np.array([-0.0], np.float32), np.array([0.0], np.float32)).tolist() == [0]


def test_a_window_of_integers_forgets_exactly_and_a_decay_does_not_quite() -> None:
    make = RowMaker()
    batches = [*begun(make), *seconds(make, 400)]
    warm = Engine([BTC], FeatureSettings(families=("flow",)))
    found = Coldness(warm.layout.names)
    compare(batches, warm, len(batches) // 2, found)
    told = found.as_dict()
    assert told["flow_imbalance_10s"]["compared"] > 100
    assert told["flow_imbalance_10s"]["worst_ulp"] == 0
    assert not any(line["apart"] for line in told.values())


def test_what_the_cold_engine_lacks_although_it_calls_it_warm_is_told() -> None:
    make = RowMaker()
    engine = Engine([BTC], FeatureSettings(families=("flow",)))
    closed = [b for rows in [*begun(make), *seconds(make, 30)] for b in engine.feed(rows)]
    found = Coldness(engine.layout.names)
    for boundary in closed:
        found.compare(boundary, replace(boundary, vectors=np.full_like(boundary.vectors, np.nan)))
    assert found.never_warm == engine.layout.names
    known = sum(np.isfinite(b.vectors[:, 0]).sum() for b in closed)
    assert found.as_dict()[engine.layout.names[0]]["apart"] == known > 5
