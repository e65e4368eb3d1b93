"""Two recorded months of bars, and minutes of book and tape, as datasets: what pages are made of.

The 24 most traded pairs of April 2021 (spot, a month rich in surges) and 16 perpetuals of May 2025.
What was built before is not built again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foreshock.costs.total import CostSettings
from foreshock.labels.barriers import CENSORED, LabelSettings
from foreshock.market.instruments import SPOT, USDM
from foreshock.models.dataset import TrainingSet
from foreshock.replay.driver import rows_of_raw, tape_of
from foreshock.stores.archive_plan import series_of
from foreshock.stores.history import History
from foreshock.stores.importers import import_file
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance import BinanceSession
from pipelines.dataset_cut import HistorySession
from pipelines.dataset_labels import label_steps
from pipelines.dataset_play import play
from pipelines.dataset_settings import DatasetSettings
from pipelines.dataset_store import build_store
from pipelines.datasets import read_dataset

PAIRS: Final = 24  # of 2021-04: those that traded most on the first day, before what is judged
BARS_HORIZONS_S: Final = (300, 900, 3_600)
SAMPLED_S: Final = 300  # bars: one boundary in five minutes
SESSION_HORIZONS_S: Final = (10, 30)


@dataclass(frozen=True, slots=True)
class Month:
    """A file of one-minute bars of many pairs."""

    title: str
    short: str
    file: str
    market: str
    first: str
    last: str
    pairs: int | None  # the most traded ones, None for all


MONTHS = (
    Month(
        "April 2021, spot", "2021-04", "klines/spot_1m_2021-04_94pairs.parquet", SPOT,
        "2021-04-02", "2021-04-30", PAIRS,
    ),
    Month(
        "May 2025, USD-M", "2025-05", "klines/usdm_1m_2025-05_16pairs.parquet", USDM,
        "2025-05-04", "2025-06-03", None,
    ),
)  # fmt: skip

_USDM = "ws_raw/hftbacktest/usdm"
SESSIONS = (  # the parts of a session together: its first has the snapshot
    (f"{_USDM}/btcusdt_20230404.dat.gz", f"{_USDM}/btcusdt_20230405.dat.gz"),
    (
        f"{_USDM}/btcusdt_20240718.gz", f"{_USDM}/btcusdt_20240719.gz",
        f"{_USDM}/ethusdt_20240718.gz", f"{_USDM}/ethusdt_20240719.gz",
    ),
)  # fmt: skip


def chosen_bars(month: Month, data: Path, work: Path) -> tuple[Path, list[str]]:
    """The bars of the pairs that are looked at, as a file, and their names."""
    table = pq.read_table(data / month.file)
    names = table.column("symbol").cast(pa.string())  # a dictionary, in some
    table = table.set_column(table.column_names.index("symbol"), "symbol", names)
    if month.pairs is not None:
        dates = table.column("date").to_numpy()
        first = table.filter(pa.array(dates < dates.min() + np.timedelta64(1, "D")))
        worth = pc.multiply(first.column("close"), first.column("volume"))
        traded = (
            first.append_column("worth", worth).group_by("symbol").aggregate([("worth", "sum")])
        )
        best = traded.sort_by([("worth_sum", "descending")]).slice(0, month.pairs)
        table = table.filter(pc.is_in(table.column("symbol"), best.column("symbol")))
    symbols = sorted(pc.unique(table.column("symbol")).to_pylist())
    path = work / f"bars-{month.short}.parquet"
    pq.write_table(table, path)
    return path, symbols


def month_dataset(month: Month, data: Path, work: Path, days: int | None) -> TrainingSet:
    """Import the bars, run them through the engine, label them."""
    path, symbols = chosen_bars(month, data, work)
    history = History(work / f"history-{month.short}")
    if not (history.directory / "complete").exists():
        import_file(history, path, month.market)
        (history.directory / "complete").touch()
    settings = DatasetSettings(
        tier="bars",
        every_s=SAMPLED_S,
        labels=LabelSettings(horizons_s=BARS_HORIZONS_S),
        costs=CostSettings.for_market(month.market),
    )
    last = month.last
    if days is not None:
        last = str(np.datetime64(month.first, "D") + np.timedelta64(days - 1, "D"))
    session = HistorySession(
        str(history.directory.resolve()),
        tuple(series_of(month.market, ["klines"], symbols, "1m")),
        month.first, last, "near", 7, settings.step_ns,
    )  # fmt: skip
    out = work / f"dataset-{month.short}"
    build_store(out, [session], settings, use_ray=False, show=True)
    return read_dataset(out)


def session_dataset(sessions: Sequence[Sequence[Path]]) -> TrainingSet:
    """All raw sessions together: book and tape through the live code."""
    found: dict[str, list[np.ndarray]] = {}
    names: dict[str, int] = {}
    settings = DatasetSettings(
        labels=LabelSettings(horizons_s=SESSION_HORIZONS_S), costs=CostSettings.for_market(USDM)
    )
    for paths in sessions:
        raw = read_raw_session(paths)
        session = BinanceSession(raw.instruments, tape=tape_of(raw.events))
        played = play(raw.instruments, rows_of_raw(session, raw.events), settings=settings)
        for s, instrument in enumerate(raw.instruments):
            arrays = label_steps(played, s, instrument, settings).arrays
            keep = (arrays["labels"] != CENSORED).any(axis=1)
            number = names.setdefault(instrument.symbol, len(names))
            arrays["symbol"] = np.full(len(keep), number, np.int32)
            for name, array in arrays.items():
                found.setdefault(name, []).append(array[keep])
    together = {name: np.concatenate(each) for name, each in found.items()}
    for name in ("mfe_bps", "mae_bps"):
        del together[name]
    manifest = settings.manifest("binance", USDM)
    return TrainingSet(symbols=tuple(names), manifest=manifest, **together).in_order()
