"""A recording gives back what was written, word for word, and survives being written twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.errors import RecordingError, RowError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    DEPTH,
    SNAPSHOT,
    TIMER,
    TRADE,
    as_words,
    empty_rows,
    heads,
    pack_levels,
    packs_for,
)
from foreshock.stores.recordings import RecordingWriter, join_rows, open_recording
from foreshock.stores.row_tables import from_table, to_table

INSTRUMENTS = [Instrument.of("AUSDT", "binance-spot", "0.01", "0.1")]
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def row_batches(draw, max_frames: int = 12):
    """Rows of any content the data language allows, seq rising by one."""
    parts = []
    for seq in range(draw(st.integers(0, max_frames))):
        kind = draw(st.sampled_from([TRADE, TIMER, DEPTH, SNAPSHOT]))
        n_bids, n_asks = draw(st.integers(0, 12)), draw(st.integers(0, 12))
        has_levels = kind in (DEPTH, SNAPSHOT)
        rows = empty_rows(1 + (packs_for(n_bids + n_asks) if has_levels else 0))
        words = as_words(rows)
        words[:] = draw(INT64)
        for name in ("arrival_ns", "id", "a", "d"):
            rows[name][0] = draw(INT64)
        rows["seq"][0], rows["kind"][0], rows["count"][0] = seq, kind, 0
        rows["flags"][0], rows["symbol"][0] = draw(st.integers(0, 255)), draw(st.integers(-1, 9))
        if has_levels:
            levels = np.arange(2 * (n_bids + n_asks)).reshape(-1, 2) * draw(st.integers(1, 2**40))
            pack_levels(rows, 0, levels[:n_bids], levels[n_bids:])
        parts.append(rows)
    return join_rows(parts)


@settings(max_examples=60, deadline=None)
@given(row_batches())
def test_rows_come_back_from_their_table_word_for_word(rows):
    assert from_table(to_table(rows)).tobytes() == rows.tobytes()


def depth_rows(first_seq: int, frames: int, levels: int = 8):
    parts = []
    for seq in range(first_seq, first_seq + frames):
        rows = empty_rows(1 + packs_for(levels))
        rows["kind"][0], rows["seq"][0], rows["arrival_ns"][0] = DEPTH, seq, 10 * seq
        book = np.arange(2 * levels).reshape(-1, 2) + seq
        pack_levels(rows, 0, book[: levels // 2], book[levels // 2 :])
        parts.append(rows)
    return join_rows(parts)


@pytest.fixture
def written(tmp_path):
    """A recording of three batches, the second of them written twice."""
    writer = RecordingWriter(tmp_path / "r", INSTRUMENTS, {"source": "simulation", "seed": 3})
    batches = [depth_rows(0, 40), depth_rows(40, 25), depth_rows(65, 35)]
    for batch in (batches[0], batches[1], batches[1], batches[2]):
        writer.write(batch)
    writer.close()
    return tmp_path / "r", join_rows(batches)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 50, 10_000])
def test_batches_of_any_size_keep_headers_with_their_packs(written, batch_rows):
    path, rows = written
    recording = open_recording(path)
    assert recording.instruments == INSTRUMENTS
    assert recording.meta == {"source": "simulation", "seed": 3}
    batches = list(recording.rows(batch_rows))
    for batch in batches:
        heads(batch)
        assert len(batch) <= max(batch_rows, 3)
    assert join_rows(batches).tobytes() == rows.tobytes()


@pytest.mark.parametrize("after_seq", [-1, 0, 39, 40, 70, 99, 500])
def test_reading_goes_on_behind_a_snapshot(written, after_seq):
    path, rows = written
    later = join_rows(open_recording(path).rows(after_seq=after_seq))
    assert later["seq"][heads(later)].tolist() == list(range(after_seq + 1, 100))
    assert later.tobytes() == rows[len(rows) - len(later) :].tobytes()


def test_batches_that_overlap_give_each_row_once(written):
    path, rows = written
    again = RecordingWriter(path, INSTRUMENTS, {"source": "simulation", "seed": 3})
    again.write(depth_rows(30, 20))
    assert join_rows(open_recording(path).rows()).tobytes() == rows.tobytes()


def test_another_recording_is_not_overwritten(written):
    path, _ = written
    with pytest.raises(RecordingError, match="another recording"):
        RecordingWriter(path, INSTRUMENTS, {"seed": 4})


def test_rows_that_break_the_data_language_are_not_kept(written, tmp_path):
    writer = RecordingWriter(tmp_path / "new", INSTRUMENTS, {})
    with pytest.raises(RowError):
        writer.write(depth_rows(0, 3)[:-1])
    assert list(open_recording(tmp_path / "new").rows()) == []


def test_snapshots_come_back_oldest_first(tmp_path):
    writer = RecordingWriter(tmp_path, INSTRUMENTS, {})
    blobs = {900: b"later" * 1000, 7: b"early", 12: b""}
    for seq, blob in blobs.items():
        writer.write_snapshot(seq, blob)
    assert list(open_recording(tmp_path).snapshots()) == sorted(blobs.items())


def boundary(at_ns: int, n: int = 3, k: int = 4) -> Boundary:
    random = np.random.default_rng(at_ns)
    vectors = random.normal(size=(n, k)).astype(np.float32)
    vectors.view(np.uint32)[0, 0] = 0x7FC12345  # a NaN with a payload of its own
    inputs = np.zeros(n, BILL_INPUT)
    inputs["bid"], inputs["volatility_1s"] = random.random(n), np.nan
    return Boundary(
        boundary_ns=at_ns,
        closed_by_seq=at_ns * 3,
        closed_at_ns=at_ns + 1,
        vectors=vectors,
        warm=vectors > 0,
        book_state=np.array([0, 1, 2], np.uint8),
        book_epoch=np.arange(n, dtype=np.int32),
        tape_epoch=np.arange(n, dtype=np.int32) * 2,
        bill_inputs=inputs,
        rows=np.arange(n),
    )


def test_boundaries_scores_and_verdicts_come_back_bit_for_bit(tmp_path):
    writer = RecordingWriter(tmp_path, INSTRUMENTS, {})
    said = [boundary(10), boundary(20)]
    scores = np.array([[0.5, np.nan]] * 3, np.float32)
    spoken = [None, [{"id": "x", "utility_bps": 1.5}]]
    writer.write_boundaries(said, [None, scores], spoken, [None, b"state"])
    writer.write_boundaries([boundary(30)])
    read = list(open_recording(tmp_path).vectors())
    for before, after in zip([*said, boundary(30)], read, strict=True):
        for name in Boundary.__slots__:
            old, new = getattr(before, name), getattr(after, name)
            if isinstance(old, np.ndarray):
                assert (old.dtype, old.shape) == (new.dtype, new.shape)
                old, new = old.tobytes(), new.tobytes()
            assert old == new
    assert [each.probabilities is None for each in read] == [True, False, True]
    assert read[1].probabilities.tobytes() == scores.tobytes()
    assert [each.verdicts for each in read] == [*spoken, None]
    assert [each.policy for each in read] == [None, b"state", None]


def test_what_is_no_recording_or_a_damaged_one_is_an_error(written, tmp_path):
    path, _ = written
    with pytest.raises(RecordingError, match="no recording"):
        open_recording(tmp_path)
    victim = sorted((path / "rows").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(RecordingError, match=victim.name):
        list(open_recording(path).rows())


def test_a_write_that_fails_leaves_nothing_behind(written, monkeypatch):
    path, rows = written
    before = sorted(path.rglob("*"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(Exception, match="disk full"):
        RecordingWriter(path, INSTRUMENTS, {"source": "simulation", "seed": 3}).write(rows)
    assert sorted(path.rglob("*")) == before
