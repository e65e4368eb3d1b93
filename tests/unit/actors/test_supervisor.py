"""What a supervisor knows of a share whose watchers come and go."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.plan import WatchPlan
from actors.supervisor import Supervisor, _Charge, _next_generation
from foreshock.market.clock import SECOND_NS
from foreshock.market.context import CONTEXT_VALUE, FACT
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import CONTEXT_VOLUME_RANK
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


class Told:
    """An actor's handle as far as context goes: keeps what it was told."""

    def __init__(self) -> None:
        self.context = self
        self.values: list[NDArray[np.void]] = []

    def remote(self, boundary_ns: int, known_ns: int, body: bytes) -> None:
        assert known_ns >= boundary_ns
        self.values.append(np.frombuffer(body, CONTEXT_VALUE))


def test_who_watches_is_told_under_the_numbers_it_began_with_even_when_a_symbol_is_gone() -> None:
    symbols = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "BTCUSDT")
    instruments = tuple(Instrument.of(symbol, SPOT, "0.01", "0.1") for symbol in symbols)
    supervisor = Supervisor(replace(PLAN, instruments=instruments), watchers=1)
    (charge,) = supervisor._charges
    told = Told()
    charge.actor, charge.symbols = cast(Any, told), charge.plan.symbols

    async def scene() -> None:
        facts = np.array([(100.0, 1e-4, float(k)) for k in range(4)], FACT)
        for second in (1, 2):
            await supervisor.tell(symbols, second * SECOND_NS, facts)
            assert supervisor._gatherer.complete(second * SECOND_NS)
            supervisor._publish(second * SECOND_NS)
            if second == 1:
                supervisor._drop("AAAUSDT")
        await supervisor.tell(symbols, 2 * SECOND_NS, facts)  # too late
        assert (supervisor._gathered, supervisor._gatherer.late) == (2, 4)

    asyncio.run(scene())
    first, second = (
        {int(v["symbol"]): float(v["value"]) for v in values if v["field"] == CONTEXT_VOLUME_RANK}
        for values in told.values
    )
    assert first == pytest.approx({0: 0.0, 1: 1 / 3, 2: 2 / 3, 3: 1.0})
    assert second == pytest.approx({1: 0.0, 2: 0.5, 3: 1.0})
