"""The recorder: a recording on disk, and the same in the cold store."""

from __future__ import annotations

import numpy as np

from actors.recorder import Recorder
from foreshock.engine.step import Engine
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import heads
from foreshock.stores.cold_parquet import ParquetCold
from foreshock.stores.cold_settings import ColdPlan, Stores
from foreshock.stores.recordings import join_rows, open_recording
from foreshock.stores.row_tables import from_table
from tests.reference.make_rows import RowMaker

INSTRUMENTS = [Instrument.of("AUSDT", SPOT, "0.1", "1")]


def batches() -> list:
    make, out = RowMaker(), []
    for _ in range(12):
        make.now += 10**9
        out.append(np.concatenate([make.trade(0, 7, 2), make.depth(0, 1, [(6, 1)]), make.timer()]))
    return out


def test_what_is_recorded_is_in_the_cold_store_too(tmp_path):
    recorder = Recorder(ColdPlan(Stores(), tmp_path))
    place, engine = tmp_path / "recordings" / "session" / "0", Engine(INSTRUMENTS)
    recorder.open(str(place), INSTRUMENTS, {})
    closed = 0
    for rows in batches():
        boundaries = engine.feed(rows)
        closed += len(boundaries)
        none = [None] * len(boundaries)
        recorder.write(str(place), rows, boundaries, none, none, none)
    recorder.close(str(place))
    assert recorder.status()["cold"]["state"] == "ok"
    cold = ParquetCold(tmp_path / "cold")
    rows = cold.scan("rows")
    rows = rows.take(np.argsort(rows["seq"].to_numpy()))
    assert from_table(rows).tobytes() == join_rows(batches()).tobytes()
    assert join_rows(open_recording(place).rows()).tobytes() == join_rows(batches()).tobytes()
    assert len(cold.scan("rows")) == len(heads(join_rows(batches())))
    assert len(cold.scan("trades")) == 12
    vectors = cold.scan("vectors")
    assert len(vectors) == closed > 5
    names = [f"feature_{name}" for name in engine.layout.names]
    assert vectors.column_names[-len(names) :] == names
    assert set(vectors["fingerprint"].to_pylist()) == {engine.layout.fingerprint}


def test_without_a_cold_store_it_records_alone(tmp_path):
    recorder = Recorder()
    recorder.open(str(tmp_path / "r"), INSTRUMENTS, {})
    recorder.write(str(tmp_path / "r"), batches()[0], [], [], [], [])
    recorder.close(str(tmp_path / "r"))
    assert recorder.status()["cold"] == {"state": "off"}
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
