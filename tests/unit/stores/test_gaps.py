"""Gaps are read from the record: what broke, why and until when, and rows that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.errors import RecordingError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    BOOK,
    EPOCH,
    REASON_CUT,
    REASON_GAP,
    REASON_JOINED,
    REASON_RESUMED,
    REASON_SILENT,
    REASON_START,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    TIMER,
    Rows,
    empty_rows,
)
from foreshock.stores.gaps import Gap, Gaps, gaps_of
from foreshock.stores.recordings import RecordingWriter

SYMBOLS = ["AUSDT", "BUSDT"]
INSTRUMENTS = [Instrument.of(symbol, "binance-spot", "0.01", "0.1") for symbol in SYMBOLS]


def row(seq: int, kind: int = TIMER, symbol: int = -1, **payload: int) -> Rows:
    made = empty_rows(1)
    made["seq"], made["arrival_ns"], made["kind"], made["symbol"] = seq, 100 * seq, kind, symbol
    for name, value in payload.items():
        made[name] = value
    return made


def epoch(seq: int, s: int, family: int, state: int, reason: int) -> Rows:
    return row(seq, EPOCH, s, a=state, c=family, d=reason)


STORY = [
    epoch(0, 0, BOOK, RESYNCING, REASON_START),
    epoch(1, 0, TAPE, SYNCED, REASON_START),
    epoch(2, 1, BOOK, RESYNCING, REASON_START),
    epoch(3, 0, BOOK, SYNCED, REASON_JOINED),
    epoch(4, 1, BOOK, SYNCED, REASON_JOINED),
    row(5),
    epoch(6, 1, BOOK, RESYNCING, REASON_GAP),
    epoch(7, 1, BOOK, RESYNCING, REASON_CUT),  # broken once more while it is broken
    epoch(8, 1, TAPE, SYNCED, REASON_CUT),
    epoch(9, 1, BOOK, SYNCED, REASON_JOINED),
    epoch(10, 0, BOOK, STALE, REASON_SILENT),
    epoch(11, 0, BOOK, SYNCED, REASON_RESUMED),
    # 12 and 13 were not recorded
    row(14),
    epoch(15, 0, BOOK, RESYNCING, REASON_GAP),
]
TOLD = [
    Gap("BUSDT", "book", 600, 900, "gap"),
    Gap("BUSDT", "tape", 800, 800, "cut"),
    Gap("AUSDT", "book", 1000, 1100, "silent"),
    Gap(None, "rows", 1100, 1400, "not_recorded"),
    Gap("AUSDT", "book", 1500, None, "gap"),
]


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 6, 7, 8, 12, 13], list(range(1, 14))])
def test_gaps_have_a_symbol_a_span_and_a_reason_however_the_files_were_cut(
    tmp_path: Path, cuts: list[int]
) -> None:
    writer = RecordingWriter(tmp_path, INSTRUMENTS, {})
    for lo, hi in zip([0, *cuts], [*cuts, len(STORY)], strict=True):
        writer.write(np.concatenate(STORY[lo:hi]))
    assert gaps_of(tmp_path, SYMBOLS) == TOLD


def test_rows_in_memory_tell_the_same() -> None:
    gaps = Gaps(SYMBOLS)
    for piece in STORY:
        gaps.take_rows(piece)
    assert gaps.found() == gaps.found() == TOLD


def test_how_a_session_starts_is_no_gap(tmp_path: Path) -> None:
    RecordingWriter(tmp_path, INSTRUMENTS, {}).write(np.concatenate(STORY[:3]))
    assert gaps_of(tmp_path, SYMBOLS) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    RecordingWriter(tmp_path, INSTRUMENTS, {}).write(np.concatenate(STORY))
    (path,) = (tmp_path / "rows").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordingError, match=path.name):
        gaps_of(tmp_path, SYMBOLS)
