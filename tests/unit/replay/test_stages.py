"""One altered byte at each stage of a recorded session: reconcile names that stage and place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreshock.errors import RecordingError
from foreshock.market.rows import (
    BOOK,
    CONNECTION,
    DEPTH,
    EPOCH,
    INSTRUMENT,
    METRIC,
    SNAPSHOT,
    TRADE,
    heads,
)
from foreshock.models.base import Domain
from foreshock.replay.compare import Difference, Reconciliation
from foreshock.replay.reconcile import reconcile
from foreshock.replay.tap import rows_of_journal
from foreshock.signals.policy import PolicyState
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores import journal
from foreshock.stores.journal import FRAME
from foreshock.stores.recordings import RecordingWriter, open_recording
from foreshock.stores.row_tables import ENCODINGS, from_table, to_table
from tests.unit.replay.judged import judging, record
from tests.unit.replay.live import Shell, a_session, parquet

SECONDS = 40
MARKET = SimulationSettings.model_validate({"seed": 11, "symbols": 3, "market": "binance-usdm"})
SYMBOLS = list(MARKET.symbols)
PLACE = Path("session/watcher/0-0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session as a watcher records it: journal, rows, snapshots, vectors, scores, verdicts."""
    home = tmp_path_factory.mktemp("made")
    shell = Shell(MARKET)
    shell.run(SECONDS)
    domain = Domain(source="simulation", market=MARKET.market, tier="book")
    record(home, shell.batches, shell.instruments, domain, PolicyState(), parts=shell.parts)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def checked(home: Path) -> Reconciliation:
    recording = open_recording(home / PLACE)
    session = a_session(recording.instruments)
    return reconcile(recording, judging(home, recording), session=session)


def first(home: Path) -> Difference:
    found = checked(home)
    assert found.same is False and found.first is not None
    return found.first


def test_an_untouched_session_is_the_same_at_every_stage(made: Path) -> None:
    found = checked(made)
    assert found.first is None and found.same is True and found.words == []
    recording = open_recording(made / PLACE)
    kept = np.concatenate(list(recording.rows()))
    assert found.compared["rows"] == found.rows == len(kept)
    assert found.compared["frames"] == sum(1 for _ in recording.journal()) > 2_000
    assert found.snapshots == 4
    assert found.compared["probabilities"] == found.compared["verdicts"] >= SECONDS - 5
    kinds = kept["kind"][heads(kept)]
    epochs = kept[heads(kept)][kinds == EPOCH]
    assert {TRADE, DEPTH, SNAPSHOT, CONNECTION, METRIC} <= set(kinds.tolist())
    assert (kinds == INSTRUMENT).sum() >= 3  # the versions that it was made with
    assert len({int(reason) for reason in epochs["d"][epochs["c"] == BOOK]}) >= 5


@pytest.mark.parametrize("batch", [1, 7, 100_000])
def test_a_journal_gives_the_same_rows_for_any_batch(made: Path, batch: int) -> None:
    recording = open_recording(made / PLACE)
    session = a_session(recording.instruments)
    rows = [rows for _, rows in rows_of_journal(session, recording.journal(), batch)]
    assert np.concatenate(rows).tobytes() == np.concatenate(list(recording.rows())).tobytes()


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], **encodings: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path, compression="zstd", **encodings)


def altered_entry(k: int, column: str, change: Callable[[Any], Any]) -> Any:
    def altered(table: pa.Table) -> pa.Table:
        values = table.column(column).to_pylist()
        values[k] = change(values[k])
        index = table.schema.get_field_index(column)
        return table.set_column(index, column, pa.array(values, table.schema.field(index).type))

    return altered


def a_frame(home: Path, stream: bytes, nth: int = 3) -> tuple[Path, int, journal.Entry]:
    """(file, index in it, entry) of the nth frame of that stream in the second part."""
    path = parquet(home / PLACE / "journal")[1]
    entries = list(journal.entries_of(pq.read_table(path)))
    found = [k for k, e in enumerate(entries) if e.call == FRAME and stream in (e.body or b"")]
    return path, found[nth], entries[found[nth]]


def test_one_byte_of_a_raw_frame_is_found_in_the_stage_frames(home: Path) -> None:
    path, k, entry = a_frame(home, b'"e":"trade"')
    assert entry.body is not None
    at = entry.body.index(b'"q":"') + 5
    digit = b"7" if entry.body[at : at + 1] != b"7" else b"8"
    body = entry.body[:at] + digit + entry.body[at + 1 :]
    rewrite(path, altered_entry(k, "body", lambda _: body))
    found = checked(home)
    told = found.first
    assert told is not None and (told.stage, told.row) == ("frames", entry.position)
    assert told.replayed == "altered since" and told.boundary_ns == entry.arrival_ns
    assert found.differing["frames"] == 1 and found.firsts["rows"].what == "trade b"
    assert set(found.differing) == {"frames", "rows"}  # the engine was fed what was recorded


def test_a_changed_stamp_of_a_raw_frame_is_found(home: Path) -> None:
    path, k, entry = a_frame(home, b"depthUpdate")
    rewrite(path, altered_entry(k, "arrival_ns", lambda at_ns: at_ns + 1))
    told = first(home)
    assert (told.stage, told.row) == ("frames", entry.position)


def test_a_changed_answer_of_the_venue_is_found(home: Path) -> None:
    path = parquet(home / PLACE / "journal")[0]
    entries = list(journal.entries_of(pq.read_table(path)))
    k = next(k for k, e in enumerate(entries) if e.call == "receive_snapshot")
    rewrite(path, altered_entry(k, "body", lambda body: body.replace(b"1", b"2", 1)))
    told = first(home)
    assert (told.stage, told.row, told.what) == ("frames", k, "receive_snapshot")


def altered_row(
    home: Path, kind: int, field: str, nth: int = 3, level: bool = False
) -> tuple[int, str]:
    """Change one field of a recorded row, or its first level; (seq, symbol)."""
    path = parquet(home / PLACE / "rows")[1]
    rows = from_table(pq.read_table(path)).copy()
    at = heads(rows)
    head = int(at[rows["kind"][at] == kind][nth])
    if level:
        rows[head + 1 : head + 2].view(np.int64)[0] ^= 1
    else:
        rows[field][head] ^= 1
    pq.write_table(to_table(rows), path, compression="zstd", **ENCODINGS)
    return int(rows["seq"][head]), SYMBOLS[int(rows["symbol"][head])]


@pytest.mark.parametrize(
    ("kind", "field", "what"),
    [(TRADE, "b", "trade b"), (DEPTH, "id", "depth id"), (EPOCH, "d", "epoch d")],
)
def test_one_bit_of_a_row_is_found_in_the_stage_rows(
    home: Path, kind: int, field: str, what: str
) -> None:
    seq, symbol = altered_row(home, kind, field, nth=0)
    told = first(home)
    assert (told.stage, told.row, told.symbol, told.what) == ("rows", seq, symbol, what)


def test_one_bit_of_a_level_is_found_with_its_place_in_the_row(home: Path) -> None:
    seq, symbol = altered_row(home, DEPTH, "", level=True)
    told = first(home)
    assert (told.stage, told.row, told.symbol) == ("rows", seq, symbol)
    assert told.what == "depth level 0 price"


def test_one_bit_of_a_kept_book_is_found_in_the_stage_book(home: Path) -> None:
    recording = open_recording(home / PLACE)
    seq = recording.snapshot_seqs()[1]
    from foreshock.engine.step import Engine

    engine = Engine(recording.instruments)
    engine.restore(recording.snapshot(seq))
    engine.ladder.touch[1, 1] ^= 1
    RecordingWriter(home / PLACE, recording.instruments, recording.meta).write_snapshot(
        seq, engine.snapshot()
    )
    found = checked(home)
    told = found.first
    assert told is not None and (told.stage, told.row, told.symbol) == ("book", seq, SYMBOLS[1])
    assert told.what is not None and told.what.startswith("state ladder.touch")
    assert set(found.differing) == {"book"} and found.differing_bits == 1


def altered_boundary(home: Path, change: Callable[[Any], Any], at: int = 22) -> int:
    recording = open_recording(home / PLACE)
    writer = RecordingWriter(home / PLACE, recording.instruments, recording.meta)
    said = list(recording.vectors())
    said[at] = change(said[at])
    shutil.rmtree(home / PLACE / "vectors")
    writer.write_boundaries(
        said,
        [one.probabilities for one in said],
        [one.verdicts for one in said],
        [one.policy for one in said],
    )
    return said[at].closed_by_seq


def flip(name: str, s: int = 1, column: int = 0) -> Callable[[Any], Any]:
    def change(said: Any) -> Any:
        array = getattr(said, name)
        array.view(np.uint8).reshape(len(array), -1)[s, column] ^= 1
        return said

    return change


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("book_state", "book"), ("book_epoch", "book"), ("tape_epoch", "book"), ("rows", "book"),
        ("warm", "vectors"), ("vectors", "vectors"), ("bill_inputs", "bill_inputs"),
        ("probabilities", "probabilities"),
    ],
)  # fmt: skip
def test_one_bit_of_what_was_said_is_found_in_its_stage(home: Path, name: str, stage: str) -> None:
    closed_by = altered_boundary(home, flip(name))
    told = first(home)
    assert (told.stage, told.row, told.symbol) == (stage, closed_by, SYMBOLS[1])


def test_one_character_of_a_verdict_is_found_in_the_stage_verdicts(home: Path) -> None:
    def change(said: Any) -> Any:
        said.verdicts[2]["reason"] += "s"
        return said

    closed_by = altered_boundary(home, change)
    told = first(home)
    assert (told.stage, told.row, told.symbol, told.what) == (
        "verdicts", closed_by, SYMBOLS[2], "reason",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "stage"), [("journal", "frames"), ("rows", "rows"), ("vectors", "vectors")]
)
def test_a_byte_of_a_file_is_found_in_the_stage_that_the_file_holds(
    home: Path, folder: str, stage: str
) -> None:
    path = parquet(home / PLACE / folder)[1]
    chunks = pq.read_metadata(path).row_group(0)
    widest = max(
        (chunks.column(k) for k in range(chunks.num_columns)),
        key=lambda column: column.total_compressed_size,
    )
    raw = bytearray(path.read_bytes())
    raw[widest.data_page_offset + widest.total_compressed_size // 2] ^= 0x10
    path.write_bytes(raw)
    told = first(home)
    assert told.stage == stage and path.name in told.recorded


def test_a_byte_of_a_snapshot_file_is_found_in_the_stage_book(home: Path) -> None:
    path = sorted((home / PLACE / "snapshots").iterdir())[1]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0x10  # of the checksum: one in the middle may stand for the same zeros
    path.write_bytes(raw)
    told = first(home)
    assert (told.stage, told.what, told.row) == ("book", "snapshot", int(path.stem))


def test_raw_frames_that_are_missing_are_told_and_the_rest_goes_on(home: Path) -> None:
    path = parquet(home / PLACE / "journal")[3]
    missing = pq.read_metadata(path).num_rows
    path.unlink()
    found = checked(home)
    assert found.first is not None and found.first.stage == "frames"
    assert found.differing == {"frames": missing}
    assert any("raw frames are missing" in word for word in found.words)
    assert found.compared["verdicts"] >= SECONDS - 5


def test_the_last_part_lost_to_a_kill_is_told_and_is_no_difference(home: Path) -> None:
    """Rows were on disk and their frames not yet, and nobody closed the recording."""
    parquet(home / PLACE / "journal")[-1].unlink()
    (home / PLACE / "end.json").unlink()
    found = checked(home)
    assert found.same is True
    assert any("of the last" in word for word in found.words)
    assert any("was not closed" in word for word in found.words)


def test_a_closed_recording_that_lacks_its_last_frames_differs(home: Path) -> None:
    parquet(home / PLACE / "journal")[-1].unlink()
    told = first(home)
    assert (told.stage, told.what, told.replayed) == ("rows", "rows at the end", "0")


def test_a_closed_recording_that_lacks_its_last_rows_differs(home: Path) -> None:
    parquet(home / PLACE / "rows")[-1].unlink()
    told = first(home)
    assert (told.stage, told.what, told.recorded) == ("rows", "rows at the end", "0")


def meta_with(home: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = home / PLACE / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    change(manifest)
    path.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def test_another_fingerprint_with_unnamed_features_compares_rows_and_books_only(home: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["meta"]["layout"] = "0123456789abcdef"
        del manifest["meta"]["features"]

    meta_with(home, change)
    found = checked(home)
    assert found.same is True and any("0123456789abcdef" in word for word in found.words)
    assert found.compared["rows"] and found.compared["book"]
    assert not found.compared["vectors"] and not found.compared["verdicts"]


def test_a_feature_that_was_removed_since_is_named_and_the_others_are_compared(home: Path) -> None:
    """The recording has one more feature, in front; the kept ones are compared by name."""

    def change(manifest: dict[str, Any]) -> None:
        meta = manifest["meta"]
        meta["layout"] = "0123456789abcdef"
        meta["features"] = [["old_feature_7s", "00000000"], *meta["features"]]

    def wider(said: Any) -> Any:
        extra = np.ones((len(said.vectors), 1))
        return replace(
            said,
            vectors=np.hstack([extra.astype(np.float32), said.vectors]),
            warm=np.hstack([extra.astype(np.bool_), said.warm]),
        )

    for at in range(len(list(open_recording(home / PLACE).vectors()))):
        altered_boundary(home, wider, at)
    meta_with(home, change)
    found = checked(home)
    assert found.same is True and found.compared["vectors"] > 30
    assert "features removed: old_feature_7s" in found.words
    altered_boundary(home, flip("vectors", 2, 4 * 3), 25)  # the third column: the second of ours
    told = first(home)
    name = open_recording(home / PLACE).meta["features"][3][0]
    assert (told.stage, told.symbol, told.what) == ("vectors", SYMBOLS[2], name)


def test_a_feature_that_is_defined_anew_is_named_and_left_out(home: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        meta = manifest["meta"]
        meta["layout"] = "0123456789abcdef"
        meta["features"][0][1] = "00000000"

    name = open_recording(home / PLACE).meta["features"][0][0]
    meta_with(home, change)
    altered_boundary(home, flip("vectors"), 25)  # a bit of that feature
    found = checked(home)
    assert found.same is True and f"features defined anew: {name}" in found.words


def test_a_row_of_a_kind_that_we_do_not_know_is_refused_with_the_reason(home: Path) -> None:
    path = parquet(home / PLACE / "rows")[2]
    table = pq.read_table(path)
    meta = table.column("meta").to_pylist()
    meta[5] = (meta[5] & ~0xFF) | 200
    pq.write_table(table.set_column(3, "meta", pa.array(meta)), path, compression="zstd")
    told = first(home)
    assert told.stage == "rows" and "unknown kind 200" in told.recorded
    assert "newer version" in told.recorded


def test_a_call_that_we_do_not_know_is_refused_with_the_reason(home: Path) -> None:
    path = parquet(home / PLACE / "journal")[2]
    entries = list(journal.entries_of(pq.read_table(path)))
    k = next(k for k, e in enumerate(entries) if e.call == "timer")
    rewrite(path, altered_entry(k, "call", lambda _: "foretell"))
    told = first(home)
    assert told.stage == "frames" and "'foretell'" in told.recorded


def test_a_newer_format_is_refused(home: Path) -> None:
    meta_with(home, lambda manifest: manifest.update(version=manifest["version"] + 1))
    with pytest.raises(RecordingError, match="this version reads up to"):
        open_recording(home / PLACE)


def test_an_older_format_is_read(home: Path) -> None:
    meta_with(home, lambda manifest: manifest.update(version=1))
    (home / PLACE / "end.json").unlink()
    shutil.rmtree(home / PLACE / "journal")
    found = checked(home)
    assert found.same is True and not found.compared["frames"]
