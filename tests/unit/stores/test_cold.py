"""The cold store: what goes in comes out by SQL, once, whatever is retried or compacted."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS
from foreshock.stores.cold import ColdStore

MIDNIGHT = 1_700_006_400 * SECOND_NS  # 2023-11-15T00:00:00Z
SYMBOLS, NAMES = ["AUSDT", "BUSDT"], ["flow", "spread"]


def boundaries(first: int, last: int) -> list[Boundary]:
    out = []
    for second in range(first, last):
        inputs = np.zeros(2, BILL_INPUT)
        inputs["bid"] = second
        out.append(
            Boundary(
                boundary_ns=MIDNIGHT + second * SECOND_NS,
                closed_by_seq=second,
                closed_at_ns=0,
                vectors=np.array([[second / 7, np.nan], [1, 2]], np.float32),
                warm=np.ones((2, 2), bool),
                book_state=np.ones(2, np.uint8),
                book_epoch=np.array([1, 2], np.int32),
                tape_epoch=np.array([1, 2], np.int32),
                bill_inputs=inputs,
                rows=np.zeros(2, np.int64),
            )
        )
    return out


@pytest.fixture
def cold(tmp_path):
    return ColdStore(tmp_path / "it's cold")


def test_vectors_are_partitioned_by_day_and_symbol_and_keep_their_bits(cold):
    cold.write_vectors(boundaries(-5, 5), SYMBOLS, NAMES, "f00d")
    days = sorted(path.name for path in (cold.directory / "vectors").iterdir())
    assert days == ["date=2023-11-14", "date=2023-11-15"]
    got = cold.query("SELECT * FROM vectors WHERE symbol = ? ORDER BY boundary_ns", ["AUSDT"])
    flow = np.array([second / 7 for second in range(-5, 5)], np.float32)
    assert got.column("feature_flow").to_numpy().tobytes() == flow.tobytes()
    assert np.isnan(got.column("feature_spread").to_numpy()).all()
    assert set(got.column("fingerprint").to_pylist()) == {"f00d"}
    assert cold.query("SELECT count(*) AS n FROM vectors WHERE date = '2023-11-15'")["n"][
        0
    ].as_py() == (2 * 5)


def test_a_batch_that_is_written_again_or_overlaps_counts_once(cold):
    cold.write_vectors(boundaries(0, 10), SYMBOLS, NAMES, "f00d")
    cold.write_vectors(boundaries(0, 10), SYMBOLS, NAMES, "f00d")
    assert len(list(cold.directory.rglob("*.parquet"))) == 2
    cold.write_vectors(boundaries(5, 15), SYMBOLS, NAMES, "f00d")
    assert cold.query("SELECT count(*) AS n FROM vectors")["n"][0].as_py() == 30


def test_compacting_a_partition_changes_no_answer(cold):
    for first in (0, 10, 5, 20):
        cold.write_vectors(boundaries(first, first + 10), SYMBOLS, NAMES, "f00d")
    before = cold.query("SELECT * FROM vectors ORDER BY symbol, boundary_ns")
    assert cold.compact("2023-11-15", "AUSDT") == 4
    assert cold.compact("2023-11-15", "AUSDT") == 1
    assert len(list(cold.directory.rglob("symbol=AUSDT/*.parquet"))) == 1
    after = cold.query("SELECT * FROM vectors ORDER BY symbol, boundary_ns")
    for name in before.column_names:
        assert before.column(name).to_pandas().equals(after.column(name).to_pandas())


def test_an_unfinished_file_is_not_seen(cold):
    cold.write_vectors(boundaries(0, 3), SYMBOLS, NAMES, "f00d")
    whole = next(cold.directory.rglob("symbol=AUSDT/*.parquet"))
    whole.with_name(f".unfinished-1-{whole.name}").write_bytes(b"half")
    assert cold.query("SELECT count(*) AS n FROM vectors")["n"][0].as_py() == 6


def test_a_question_that_cannot_be_answered_is_a_store_error(cold):
    with pytest.raises(StoreError, match="vectors"):
        cold.query("SELECT * FROM vectors")
    with pytest.raises(StoreError, match="syntax"):
        cold.query("SELEKT")
