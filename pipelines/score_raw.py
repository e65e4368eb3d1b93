"""A dataset of what is none yet, for `pipelines.score`: recordings, raw sessions, bars, tapes.

    a recording of ours, or a directory of them     → rows as they lie
    raw WebSocket frames that others recorded       → through the session that hears the venue
    bars and tapes (whatever `data import` takes)   → a history of their own, read as archives are

Rows go through the engine that runs live, so that a vector is what a watcher would have made of the
same input. Only what the models read is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from foreshock.costs.total import CostSettings
from foreshock.engine.step import Engine
from foreshock.errors import ArchiveError, DatasetError, RecordingError
from foreshock.features.catalog import FeatureSet
from foreshock.market.rows import Rows
from foreshock.models.base import Domain, ModelCard, Tier
from foreshock.replay.driver import replay_raw, tape_of
from foreshock.settings import Config
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import History
from foreshock.stores.importers import import_file
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.stores.recordings import RecordingWriter
from foreshock.venues.binance import BinanceSession
from pipelines.dataset_cut import HistorySession, RecordingSession, Session
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import build_store

_TIERS: Final[dict[str, Tier]] = {"klines": "bars", "aggTrades": "tape", "trades": "tape"}
BARS_EVERY_S: Final = 60
WRITE_ROWS: Final = 200_000  # of a raw session in a file of its recording


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to make a dataset of, and where they are from."""

    sessions: tuple[Session, ...]
    domain: Domain


def source_of(
    path: Path, work: Path, tree: Config, market: str | None = None,
    symbols: Sequence[str] | None = None,
) -> Source:  # fmt: skip
    """What lies at `path`; what must be written on the way goes below `work`.

    market, symbols   of bars and tapes: what they do not say themselves, and which to take

    Raises DatasetError where nothing there can be read, saying what it was tried as."""
    recordings = sorted(p.parent for p in path.rglob("manifest.json")) if path.is_dir() else []
    if recordings:
        return _recorded([RecordingSession(str(each.resolve())) for each in recordings])
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DatasetError(f"{path} holds nothing to score")
    try:
        return _recorded([_heard(files, work / "recording")])
    except RecordingError as error:
        not_frames = str(error)
    try:
        return _imported(files, work / "history", tree, market, symbols)
    except (ArchiveError, RecordingError) as error:
        raise DatasetError(
            f"{path} is no dataset, no recording, no raw session ({not_frames}) and cannot be "
            f"imported: {error}"
        ) from error


def build_for(
    source: Source, cards: Sequence[ModelCard], out: Path, tree: Config, every_s: int | None = None
) -> Path:
    """Build the dataset that these models read, in `out`. Raises DatasetError."""
    tier = source.domain.tier
    whole = FeatureSet(tree.features)
    known = {spec.name for spec in whole.layout}
    read = sorted({name for card in cards for name in card.feature_names} & known)
    if not read:
        raise DatasetError("none of the features that the models read is computed here")
    settings = DatasetSettings(
        tier=tier,
        every_s=every_s or (BARS_EVERY_S if tier == "bars" else 1),
        labels=tree.labels.model_copy(
            update={"horizons_s": tuple(sorted({h for card in cards for h in card.horizons_s}))}
        ),
        costs=CostSettings.for_market(source.domain.market),
        features=whole.reduced(read).settings,
    )
    build_store(out, source.sessions, settings, use_ray=False)
    return out


def _recorded(sessions: Sequence[RecordingSession]) -> Source:
    found = {session.domain() for session in sessions}
    if len(found) != 1:
        raise DatasetError(f"recordings of one source and market are needed, got {sorted(found)}")
    source, market = found.pop()
    domain = Domain.model_validate({"source": source, "market": market, "tier": "book"})
    return Source(tuple(sessions), domain)


def _heard(files: Sequence[Path], directory: Path) -> RecordingSession:
    """Raw frames as a recording of their rows."""
    raw = read_raw_session(list(files))
    session = BinanceSession(raw.instruments, tape=tape_of(raw.events))
    meta = {"source": "binance", "market": raw.market, "heard": [path.name for path in files]}
    writer = RecordingWriter(directory, raw.instruments, meta)
    engine = Engine(raw.instruments)
    kept: list[Rows] = []
    held = 0
    for rows, _ in replay_raw(engine, session, raw.events):
        kept.append(rows)
        held += len(rows)
        if held >= WRITE_ROWS:
            _write(writer, kept)
            kept, held = [], 0
    _write(writer, kept)
    writer.close()
    return RecordingSession(str(directory.resolve()))


def _write(writer: RecordingWriter, batches: Sequence[Rows]) -> None:
    if batches:
        writer.write(np.concatenate(batches))


def _imported(
    files: Sequence[Path], directory: Path, tree: Config, market: str | None,
    symbols: Sequence[str] | None,
) -> Source:  # fmt: skip
    history = History(directory)
    found = {
        report.series
        for path in files
        for report in import_file(history, path, market)
        if report.series.kind in _TIERS
    }
    tiers = {_TIERS[series.kind] for series in found}
    taken = [s for s in _finest(found) if symbols is None or s.symbol in symbols]
    markets = {series.market for series in taken}
    if not taken:
        raise DatasetError(f"no bars or tape of {symbols or 'any symbol'} are in {files[0].name}")
    if len(tiers) > 1 or len(markets) > 1:
        raise DatasetError(f"one market and one kind at a time: {sorted(tiers)}, {sorted(markets)}")
    market, tier = markets.pop(), tiers.pop()
    days = [day for series in taken for f in history.days(series) for day in (f.day, f.last)]
    step_ns = DatasetSettings.model_construct(tier=tier).step_ns
    session = HistorySession(
        str(directory.resolve()), tuple(taken), min(days).isoformat(), max(days).isoformat(),
        tree.history.delays, tree.history.seed, step_ns,
    )  # fmt: skip
    domain = Domain.model_validate({"source": "binance", "market": market, "tier": tier})
    return Source((session,), domain)


def _finest(found: set[Series]) -> Iterator[Series]:
    """In order of market and symbol. Raises DatasetError on bars that are not of one minute."""
    for series in sorted(found, key=lambda s: (s.market, s.symbol, s.kind, s.interval)):
        if series.kind == "klines" and series.interval != "1m":
            raise DatasetError(
                f"bars of {series.interval} ({series.symbol}): vectors are made of one-minute bars"
            )
        yield series
