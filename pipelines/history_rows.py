"""A recording out of history: `python -m pipelines.history_rows BTCUSDT --kind aggTrades --from …`.

The engine, replay and training then run over archives as over any session. Arrival is modelled: the
manifest and every row say so, and `--delays near|far` makes two recordings whose difference is what
a result owes to the model of arrival.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from foreshock.engine.step import Engine
from foreshock.errors import ConfigError, ForeshockError
from foreshock.features.settings import FeatureSettings
from foreshock.replay.context import with_context, with_series
from foreshock.settings import load
from foreshock.stores.archive_delays import recorded
from foreshock.stores.archive_input import ArchiveInput
from foreshock.stores.archive_plan import Series, series_of
from foreshock.stores.history import History
from foreshock.stores.recordings import RecordingWriter
from foreshock.stores.series_settings import SeriesSources
from pipelines.slow_series import book_of


def record_history(
    history: History,
    series: Sequence[Series],
    first: date,
    last: date,
    out: Path,
    *,
    delays: str,
    seed: int,
    features: FeatureSettings | None = None,
    slow: SeriesSources | None = None,
) -> dict[str, Any]:
    """Write the recording; says {directory, symbols, rows, batches}. Where `features` look at what
    other symbols do, context rows are made of the tapes; slow series are those of `slow`. Raises
    ArchiveError where the series do not go together or a source cannot be read, RecordingError
    where `out` holds another recording."""
    market = series[0].market
    source = ArchiveInput(history, series, first, last, recorded(delays, market), seed)
    meta = {
        "source": "binance",
        "market": market,
        "arrival": "modelled",
        "delays": delays,
        "seed": seed,
        "history": [s.folder for s in sorted(series)],
        "days": [first.isoformat(), last.isoformat()],
    }
    book = book_of(slow, features or FeatureSettings())
    if book is not None:
        meta["series"] = [one.model_dump(mode="json") for one in book.sources]
    writer = RecordingWriter(out, source.instruments, meta)
    made = source.rows()
    if features is not None and "context" in features.families:
        engine = Engine(source.instruments, FeatureSettings(families=("context",)))
        made = with_context(made, engine, features.context.gathered)
    if book is not None:
        made = with_series(made, book)
    rows = batches = 0
    for batch in made:
        writer.write(batch)
        rows, batches = rows + len(batch), batches + 1
    writer.close()
    symbols = len(source.instruments)
    return {"directory": str(out), "symbols": symbols, "rows": rows, "batches": batches}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.history_rows")
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--market", help="default: venue.market")
    parser.add_argument("--kind", action="append", help="may be given often; default: aggTrades")
    parser.add_argument("--interval", default="1m", help="of klines; default: 1m")
    parser.add_argument("--from", metavar="DAY", required=True, help="first day, UTC")
    parser.add_argument("--to", metavar="DAY", help="last day, UTC; default: the first")
    parser.add_argument("--history", type=Path, help="default: <var_dir>/history")
    parser.add_argument("--out", type=Path, required=True, help="a new directory")
    parser.add_argument("--delays", choices=("near", "far"), help="default: history.delays")
    parser.add_argument("--seed", type=int, help="default: history.seed")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(arguments)
    try:
        tree = load().tree
        kinds = flags.kind or ["aggTrades"]
        first = date.fromisoformat(getattr(flags, "from"))
        done = record_history(
            History(flags.history or tree.paths.under("history")),
            series_of(flags.market or tree.venue.market, kinds, flags.symbols, flags.interval),
            first,
            date.fromisoformat(flags.to) if flags.to else first,
            flags.out,
            delays=flags.delays or tree.history.delays,
            seed=tree.history.seed if flags.seed is None else flags.seed,
            features=tree.features,
            slow=tree.series,
        )
    except (ConfigError, ValueError) as error:
        print(f"history_rows: {error}", file=sys.stderr)
        return 2
    except ForeshockError as error:
        print(f"history_rows: {error}", file=sys.stderr)
        return 1
    if flags.json:
        json.dump(done, sys.stdout)
    else:
        print(f"{done['rows']} rows of {done['symbols']} symbols: {done['directory']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
