"""The short form of the fuzzing, and that it would notice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from foreshock.market.instruments import SPOT, USDM, Instrument
from scripts.fuzz_decoder import Fuzz, made, recorded, run


def test_damaged_frames_of_every_stream_read_as_their_json_reads() -> None:
    materials = [made(market, tape, n=1_000) for market in (SPOT, USDM) for tape in ("trade",)]
    found = run(materials, 12_000, seed=5)
    assert found["differences"] == 0, found["first"]
    outcomes = found["outcomes"]
    assert {"ok", "malformed", "repeated", "unknown_symbol", "unsupported", "bad_number"} <= set(
        outcomes
    )
    assert sum(outcomes.values()) == found["frames"] >= 12_000


@pytest.mark.recordings
def test_damaged_recorded_frames_read_as_their_json_reads(recordings: Path) -> None:
    found = run(recorded(recordings, 3_000), 12_000, seed=6)
    assert found["differences"] == 0, found["first"]
    assert found["frames"] >= 12_000


def test_a_decoder_that_is_wrong_by_a_lot_is_noticed() -> None:
    given = made(USDM, "trade", n=400)
    fuzz = Fuzz(given, random.Random(1))
    fuzz.twin.instruments = [
        Instrument.of(i.symbol, USDM, "0.01", "0.0001") for i in given.instruments
    ]
    _, difference = fuzz.batch(given.frames)
    assert difference is not None
