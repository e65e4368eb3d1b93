"""From a file to the vector: the supervisor tells, the watcher makes rows, the engine looks."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from actors.plan import WatchPlan
from actors.supervisor import Supervisor
from actors.watcher import Watcher
from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import SPOT, Instrument
from foreshock.market.rows import CONTEXT, Rows
from foreshock.models.base import Domain
from foreshock.replay.tap import Tap, rows_of_journal
from foreshock.stores.journal import entries_of, to_table
from foreshock.stores.series_settings import SeriesSource, SeriesSources
from foreshock.venues.registry import venue_of

FEATURES = FeatureSettings(families=("series",))
TODAY = datetime.now(UTC)
COLUMN = {name: k for k, name in enumerate(Engine([], FEATURES).layout.names)}
PLAN = WatchPlan(
    name="w",
    instruments=tuple(Instrument.of(symbol, SPOT, "0.01", "0.1") for symbol in ("AUSDT", "BUSDT")),
    domain=Domain(source="simulation", market=SPOT, tier="book"),
    ws_url="ws://x",
    rest_url="http://x",
    features=FEATURES,
)


def put(path: Path, values: list[float], version: int) -> None:
    """The last of the values is of the day before yesterday: known since today began."""
    days = [TODAY - timedelta(days=len(values) + 1 - k) for k in range(len(values))]
    lines = [f"{day:%Y-%m-%d},{value}" for day, value in zip(days, values, strict=True)]
    path.write_text("\n".join(["date,fng", *lines]) + "\n")
    os.utime(path, ns=(version, version))


class Scene:
    """A supervisor and a watcher in this process, without sockets; its clock is moved by hand."""

    def __init__(self, plan: WatchPlan) -> None:
        self.supervisor = Supervisor(plan)
        self.watcher = Watcher(plan)
        self.watcher.session = Tap(self.watcher.session)
        (charge,) = self.supervisor._charges
        told = SimpleNamespace(series=SimpleNamespace(remote=self.watcher.series))
        charge.actor = cast(Any, told)
        self.rows: list[Rows] = []
        self.vectors: list[np.ndarray[Any, Any]] = []
        self.now_ns = self.watcher.clock.now_ns()
        self._take([self.watcher.session.start(self.now_ns)])

    def _take(self, rows: list[Rows]) -> None:
        self.rows += rows
        self.vectors += [boundary.vectors.copy() for boundary in self.watcher._advance(rows)]

    def second(self) -> np.ndarray[Any, Any]:
        """The vectors of the next boundary."""
        self._take(self.watcher._take_context())
        self.now_ns = (self.now_ns // SECOND_NS + 1) * SECOND_NS
        self._take([self.watcher.session.timer(self.now_ns)])
        return self.vectors[-1]

    def publish(self) -> None:
        book = self.supervisor._series
        assert book is not None
        self.supervisor._look(book, self.supervisor._clock.now_ns)
        self.supervisor._publish_series(book, self.supervisor._clock.now_ns())


def connected(path: Path) -> WatchPlan:
    source = SeriesSource(series="fear_greed", path=path, column="fng")
    return replace(PLAN, series=SeriesSources(sources=(source,)))


def test_a_connected_series_reaches_the_vector_and_a_revision_leaves_the_past(
    tmp_path: Path,
) -> None:
    path = tmp_path / "fear.csv"
    put(path, [float(k) for k in range(30, 50)], 1)
    scene = Scene(connected(path))
    assert np.isnan(scene.second()).all()
    scene.publish()
    vector = scene.second()
    assert (vector[:, COLUMN["fear_greed_index"]] == 49.0).all()
    assert (vector[:, COLUMN["fear_greed_change_7d"]] == 7.0).all()
    others = [k for name, k in COLUMN.items() if not name.startswith("fear_greed")]
    assert np.isnan(vector[:, others]).all()  # not connected: never a made-up number
    scene.publish()  # nothing new
    assert scene.watcher._take_context() == []

    before = [vectors.tobytes() for vectors in scene.vectors]
    put(path, [*(float(k) for k in range(30, 49)), 60.0], 2)
    scene.publish()
    after = scene.second()
    assert (after[:, COLUMN["fear_greed_index"]] == 60.0).all()
    assert (after[:, COLUMN["fear_greed_change_7d"]] == 18.0).all()
    assert [v.tobytes() for v in scene.vectors[: len(before)]] == before

    # The journal gives the same rows again, and they the same vectors: both versions in turn.
    part = scene.watcher.session.take()
    session = venue_of(SPOT).session(list(PLAN.instruments))
    again = np.concatenate(
        [rows for _, rows in rows_of_journal(session, entries_of(to_table(part)))]
    )
    made = np.concatenate(scene.rows)
    assert again.tobytes() == made.tobytes()
    told = made[made["kind"] == CONTEXT]
    assert (told["id"] <= told["arrival_ns"]).all() and len(told) == 21
    replayed = Engine(PLAN.instruments, FEATURES).feed(again)
    assert [b.vectors.tobytes() for b in replayed] == [v.tobytes() for v in scene.vectors]


def test_by_default_nothing_is_connected_and_nothing_is_looked_for() -> None:
    scene = Scene(PLAN)
    assert scene.supervisor._series is None
    assert scene.supervisor._series_status() == {"connected": [], "problems": {}}
    assert np.isnan(scene.second()).all()


def test_what_cannot_be_read_stays_unknown_and_the_status_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fear.csv"
    scene = Scene(connected(path))
    scene.publish()
    scene.publish()
    assert np.isnan(scene.second()).all()
    status = scene.supervisor._series_status()
    assert status["connected"] == ["fear_greed"] and str(path) in status["problems"]
    assert len(caplog.records) == 1  # said once
    put(path, [5.0], 1)
    scene.publish()
    assert scene.supervisor._series_status()["problems"] == {}
    assert (scene.second()[:, COLUMN["fear_greed_index"]] == 5.0).all()


def test_a_watcher_never_says_that_something_was_known_after_it_came(tmp_path: Path) -> None:
    scene = Scene(PLAN)
    ahead_ns = scene.watcher.clock.now_ns() + 3_600 * SECOND_NS  # another machine's clock
    scene.watcher.context(1, ahead_ns, b"")
    ((of_ns, known_ns, _, arrival_ns),) = scene.watcher._context
    assert (of_ns, known_ns) == (1, arrival_ns) and arrival_ns < ahead_ns
