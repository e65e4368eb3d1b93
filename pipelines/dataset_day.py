"""One symbol and one day: rows to vectors to labels to a file, and the state for the day behind it.

The engine starts where the day before left it, and looks on into the next day as far as the labels
of this one do: two horizons, one for the labels and one for the labels that overlap them. So a
midnight changes no bit. What is written depends on the job alone, wherever and whenever it runs.
"""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from foreshock.errors import DatasetError, ForeshockError, SnapshotError
from foreshock.labels.barriers import CENSORED, SURGE
from foreshock.labels.overlap import average_uniqueness, positive_clusters
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.stores.files import whole_file, write_table
from pipelines.dataset_cut import read_cut, upto
from pipelines.dataset_labels import VOLATILITY_BARS, WHY, Labelled, label_steps
from pipelines.dataset_play import (
    P_ARRIVAL,
    P_OPEN_NS,
    Played,
    Player,
    censored_spans,
    missing_bars,
)
from pipelines.dataset_settings import BAR_S, DAY_NS, DatasetSettings
from pipelines.datasets import table_of

META: Final = b"foreshock"
EXTRA: Final = ("mfe_bps", "mae_bps")
_SPANS: Final = ("t0_ns", "t1_ns", "labels")


@dataclass(frozen=True, slots=True)
class DayJob:
    """What one task is handed; paths as text, so that it travels.

    part      the file to write; its metadata will say `fingerprint`
    cut       the folder that `rows` and `ahead` (`Cut`s as dicts) lie in
    before    state of the day before, "" at the start of a session
    state     where to leave the state
    limit_ns  no row at or behind it is looked at, but to close the last boundary
    """

    settings: Mapping[str, Any]
    instrument: Mapping[str, Any]
    day: int
    rows: tuple[Mapping[str, Any], ...]
    ahead: tuple[Mapping[str, Any], ...]
    cut: str
    before: str
    state: str
    part: str
    limit_ns: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DayDone:
    """What a task did: rows of the dataset, market rows, CPU seconds, and the largest its process
    had been by then."""

    rows: int
    market_rows: int
    cpu_s: float
    peak_bytes: int


def build_day(job: DayJob) -> DayDone:
    """Do it. Raises DatasetError naming symbol and day."""
    started = time.process_time()
    settings = DatasetSettings.model_validate(job.settings)
    instrument = Instrument.from_dict(job.instrument)
    try:
        rows, market_rows = _build(job, settings, instrument)
    except ForeshockError as error:
        day = np.datetime64(job.day, "D")
        raise DatasetError(f"{instrument.symbol} {day}: {error}") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return DayDone(rows, market_rows, time.process_time() - started, peak)


def _build(job: DayJob, settings: DatasetSettings, instrument: Instrument) -> tuple[int, int]:
    before = _read_state(Path(job.before)) if job.before else {}
    player = Player([instrument], settings, before.get("engine"))
    if "bars" in before:
        player.add_path(before["bars"])
    market_rows = 0
    for rows in read_cut(Path(job.cut), job.rows):
        player.feed(rows)
        market_rows += len(rows)
    engine = player.engine.snapshot()
    for rows in read_cut(Path(job.cut), job.ahead):
        seen, behind = upto(rows, job.limit_ns)
        player.feed(seen)
        market_rows += len(seen)
        if behind:
            break
    played = player.played().until(job.limit_ns)
    found = label_steps(played, 0, instrument, settings)
    day = _Day(job.day * DAY_NS, (job.day + 1) * DAY_NS, settings, played, found)
    part, spans = day.part(before)
    _write(job, settings, part, day.told(spans))
    carried = day.reaching_over(spans)
    if settings.tier == "bars":
        path = played.path
        late = path[:, P_OPEN_NS] >= day.end_ns - 2 * VOLATILITY_BARS * BAR_S * SECOND_NS
        mine = path[:, P_ARRIVAL] < day.end_ns
        last = path[:, P_OPEN_NS] == path[mine, P_OPEN_NS].max(initial=0)
        carried["bars"] = path[(late | last) & mine]
    _write_state(Path(job.state), {"engine": np.frombuffer(engine, np.uint8), **carried})
    return len(part["t0_ns"]), market_rows


@dataclass(frozen=True, slots=True)
class _Spans:
    """Labels that overlap those of the day: the day before's last, its own, the next day's first.

    t0_ns (n,), t1_ns (n, H), labels (n, H); mine bool (n,): those of the day itself"""

    t0_ns: NDArray[np.int64]
    t1_ns: NDArray[np.int64]
    labels: NDArray[np.int8]
    mine: NDArray[np.bool_]

    def uniqueness(self, t1_ns: NDArray[np.int64], of: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Average uniqueness among the labels `of`, 0 for all others."""
        out = np.zeros(len(self.t0_ns))
        group = np.zeros(int(of.sum()), np.int32)
        if len(group):
            out[of] = average_uniqueness(self.t0_ns[of], t1_ns[of], group, SECOND_NS)
        return out


@dataclass(frozen=True, slots=True)
class _Day:
    """What the engine and the labels said of a day, and of what lies around it."""

    start_ns: int
    end_ns: int
    settings: DatasetSettings
    played: Played
    found: Labelled

    def part(self, before: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], _Spans]:
        """(the day's rows that have an answer for at least one horizon, with weights; the spans
        around them)."""
        arrays = self.found.arrays
        keep = (arrays["labels"] != CENSORED).any(axis=1) & (arrays["t0_ns"] >= self.start_ns)
        arrays = {name: array[keep] for name, array in arrays.items()}
        today = arrays["t0_ns"] < self.end_ns
        known = {
            name: np.concatenate([before[name], arrays[name]]) if name in before else arrays[name]
            for name in _SPANS
        }
        mine = (known["t0_ns"] >= self.start_ns) & (known["t0_ns"] < self.end_ns)
        spans = _Spans(**known, mine=mine)
        every = np.ones(len(mine), np.bool_)
        unique = [spans.uniqueness(t1_ns, every) for t1_ns in spans.t1_ns.T]
        part = {name: array[today] for name, array in arrays.items()}
        part["weights"] = np.mean(unique, axis=0)[mine].astype(np.float32)
        return part, spans

    def reaching_over(self, spans: _Spans) -> dict[str, NDArray[Any]]:
        """What the next day must know of this one's labels."""
        late = spans.mine & (spans.t1_ns.max(axis=1, initial=0) >= self.end_ns)
        return {name: getattr(spans, name)[late] for name in _SPANS}

    def told(self, spans: _Spans) -> dict[str, Any]:
        """What the manifest adds up; JSON-ready."""
        played, at_ns = self.played, self.played.at_ns
        today = (at_ns >= self.start_ns) & (at_ns < self.end_ns)
        if self.settings.tier == "bars":
            gaps = missing_bars(played, 0).tolist()
        else:
            gaps = _merged(censored_spans(played, 0, self.settings))
        clipped = [[max(a, self.start_ns), min(b, self.end_ns)] for a, b in gaps]
        epochs = played.book_epoch if self.settings.tier == "book" else played.tape_epoch
        numbers = np.unique(epochs[today, 0]).tolist() if self.settings.tier != "bars" else []
        t0_ns = spans.t0_ns[spans.mine]
        return {
            "rows": len(t0_ns),
            "first_ns": int(t0_ns[0]) if len(t0_ns) else 0,
            "last_ns": int(t0_ns[-1]) if len(t0_ns) else 0,
            "boundaries": int(today.sum()),
            "of_them": {
                name: int((self.found.why[today] == code).sum()) for code, name in enumerate(WHY)
            },
            "gaps": [[a, b] for a, b in clipped if a < b],
            "epochs": numbers,
            "horizons": {
                str(horizon_s): self._balance(spans, h)
                for h, horizon_s in enumerate(self.settings.labels.horizons_s)
            },
        }

    def _balance(self, spans: _Spans, h: int) -> dict[str, Any]:
        label, t1_ns = spans.labels[:, h], spans.t1_ns[:, h]
        answered, mine = label != CENSORED, spans.mine
        return {
            "rows": int(mine.sum()),
            "censored": int((mine & ~answered).sum()),
            "positives": int((mine & (label == SURGE)).sum()),
            "clusters": self._clusters(spans, label, t1_ns),
            "effective": float(spans.uniqueness(t1_ns, answered)[mine].sum()),
        }

    def _clusters(self, spans: _Spans, label: NDArray[np.int8], t1_ns: NDArray[np.int64]) -> int:
        """Independent events that begin on this day: one that goes on from the day before was
        counted there."""
        older = spans.t0_ns < self.start_ns
        upto = spans.mine | (older & (t1_ns >= self.start_ns))
        group = np.zeros(int(upto.sum()), np.int32)
        chains = positive_clusters(spans.t0_ns[upto], t1_ns[upto], group, label[upto])
        goes_on = bool((label[upto & older] == SURGE).any())
        return int(chains.max(initial=-1)) + 1 - int(goes_on)


def _merged(spans: NDArray[np.int64]) -> list[list[int]]:
    """Spans in order, those that touch as one."""
    out: list[list[int]] = []
    for start, end in spans.tolist():
        if out and start <= out[-1][1]:
            out[-1][1] = end
        else:
            out.append([start, end])
    return out


def _write(
    job: DayJob, settings: DatasetSettings, part: dict[str, NDArray[Any]], told: dict[str, Any]
) -> None:
    table = table_of(part, settings.layout.names, settings.labels.horizons_s, EXTRA)
    meta = {"fingerprint": job.fingerprint, "told": told}
    body = json.dumps(meta, sort_keys=True).encode()
    write_table(Path(job.part), table.replace_schema_metadata({META: body}))


def read_part_meta(path: Path) -> dict[str, Any] | None:
    """{fingerprint, told} of a file that `build_day` wrote, None where there is none that is
    whole."""
    try:
        found: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[META])
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return found


def _write_state(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_state(path: Path) -> dict[str, Any]:
    """Raises SnapshotError where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SnapshotError(f"{path} cannot be read: {error}") from error
    return {**found, "engine": found["engine"].tobytes()}
