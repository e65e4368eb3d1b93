"""The parity certificate in short, over real sessions and a simulated one, and what it catches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.audit import _not_caught, _recorded
from foreshock.features import catalog
from foreshock.replay.parity import A_BIT_OF_EACH, Certificate, Plant, plants

NAMES = catalog.layout().names
THIN = "ws_raw/cryptofeed/2021-04-17_3525dc8c__BINANCE_FUTURES.0.gz"
BUSY = "ws_raw/hftbacktest/usdm/ethusdt_20240718.gz"


@pytest.mark.parametrize("path", [THIN, BUSY])
def test_a_recorded_session_has_no_differing_bit(recordings: Path, path: str) -> None:
    found = Certificate(NAMES)
    rows = _recorded([recordings / path], found, seed=5)
    assert rows == found.rows > 1_000 and found.boundaries > 20
    assert found.differing_bits == 0 and found.first is None


@pytest.mark.parametrize("plant", plants(after=1_000), ids=lambda plant: plant.name)
def test_a_planted_divergence_is_caught_by_name(plant: Plant) -> None:
    assert _not_caught(plant, NAMES, seed=3) == []


def test_nothing_planted_is_nothing_caught() -> None:
    assert _not_caught(Plant("nothing"), NAMES, seed=3) == ["nothing"]
    silent = Plant(A_BIT_OF_EACH, boundary=lambda boundary: boundary)
    assert len(_not_caught(silent, NAMES, seed=3)) == len(NAMES)


def test_what_was_never_given_is_an_alarm() -> None:
    found = Certificate(("a", "b"))
    found.given[0] = 3
    assert found.alarms[0] == "b was never given"
    assert any("resync" in alarm for alarm in found.alarms)
    found.note("x", int(np.int64(3)), "somewhere")
    found.note("y", 1, "later")
    assert found.differing_bits == 4 and found.first == "x somewhere"
