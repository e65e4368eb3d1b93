"""What a supervisor knows of a share whose watchers come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.plan import WatchPlan
from actors.supervisor import _Charge, _next_generation
from foreshock.market.instruments import SPOT, Instrument
from foreshock.models.base import Domain

PLAN = WatchPlan(
    name="w",
    instruments=(Instrument.of("AAAUSDT", SPOT, "0.01", "0.1"),),
    domain=Domain(source="simulation", market=SPOT, tier="book"),
    ws_url="ws://x",
    rest_url="http://x",
)


def status(rows: int, cold: int, malformed: int = 0) -> dict[str, Any]:
    return {
        "name": "w",
        "frames": 2 * rows, "rows": rows, "boundaries": 3, "vectors": 3, "given_up": 0,
        "shed_rows": 0, "verdicts": {"cold": cold}, "frames_by_outcome": {"malformed": malformed},
        "symbols": {"AAAUSDT": {"book": "SYNCED", "book_epoch": 4}},
    }  # fmt: skip


def test_counts_go_on_from_watcher_to_watcher() -> None:
    charge = _Charge(PLAN)
    charge.status = status(rows=10, cold=1)
    assert charge.summed() == charge.status
    charge.bury()
    charge.status = status(rows=5, cold=2, malformed=7)
    charge.bury()
    charge.status = {**status(rows=1, cold=0), "verdicts": {"signal": 1}}
    found = charge.summed()
    assert (found["rows"], found["frames"], found["vectors"]) == (16, 32, 9)
    assert found["verdicts"] == {"cold": 3, "signal": 1}
    assert found["frames_by_outcome"] == {"malformed": 7}


def test_between_two_watchers_counts_stand_and_nobody_watches_the_books() -> None:
    charge = _Charge(PLAN)
    charge.status = status(rows=10, cold=1)
    charge.bury()
    charge.bury()  # one that never said a thing
    found = charge.summed()
    assert found["rows"] == 10 and found["verdicts"] == {"cold": 1}
    assert found["symbols"] == {"AAAUSDT": {"book": "STALE", "book_epoch": 4}}
    charge = _Charge(PLAN)
    charge.bury()
    assert charge.summed() == {}


def test_a_new_generation_records_beside_every_earlier_one(tmp_path: Path) -> None:
    places = [_next_generation(tmp_path / "session" / "0") for _ in range(3)]
    assert [place.name for place in places] == ["0-0", "0-1", "0-2"]
    assert all(place.is_dir() for place in places)
