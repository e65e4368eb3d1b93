"""From rows to a dataset: `python -m pipelines.build_features RECORDING …`, or of a history with
`--history DIR --symbol BTCUSDT --kind klines --from DAY --to DAY --tier bars`.

    ray job submit --working-dir . -- python -m pipelines.build_features …

Rows go through the very engine that runs live; its vectors become X, and the path that a position
would have taken decides the labels. A row of the dataset is a symbol at a boundary where a verdict
could have been given: the input trusted, the required features warm, the bill known. Symbols and
days are tasks of Ray (the directory must be one that all nodes share); with `--no-ray` they come
one after the other. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.costs.total import CostSettings
from foreshock.errors import ConfigError, DatasetError, ForeshockError
from foreshock.features.catalog import FeatureSet
from foreshock.features.settings import FeatureSettings
from foreshock.labels.barriers import CENSORED, LabelSettings
from foreshock.labels.overlap import average_uniqueness
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import ALL, ARRIVAL, META, Rows, as_words
from foreshock.models.dataset import TrainingSet
from foreshock.settings import Config, load
from foreshock.stores.archive_plan import series_of
from foreshock.stores.cold import open_cold
from foreshock.stores.cold_settings import Stores, cold_directory
from foreshock.stores.cold_tables import labels_table
from foreshock.stores.recordings import Recording
from foreshock.stores.row_tables import pack_mask
from pipelines.dataset_cut import HistorySession, RecordingSession, Session
from pipelines.dataset_labels import label_steps
from pipelines.dataset_play import play
from pipelines.dataset_settings import TIERS, DatasetSettings, Tier
from pipelines.dataset_store import build_store, clear_work
from pipelines.datasets import read_dataset


def build_dataset(
    recordings: Sequence[Recording],
    labels: LabelSettings,
    costs: CostSettings | None = None,
    *,
    every_s: int = 1,
    features: FeatureSettings | None = None,
    tier: Tier = "book",
) -> TrainingSet:
    """The dataset of long surges in `recordings`, ordered by (t0, symbol), in memory: for a few
    hours of a few symbols. `pipelines.dataset_store.build_store` makes the same rows of any number.

    costs     the bill that moves the barriers; by default that of the recordings' market
    every_s   keep every so many seconds' boundaries
    features  which are computed; by default the whole catalogue

    Raises DatasetError where recordings differ in source or market, or nothing can be labelled."""
    domains = {(str(r.meta.get("source")), r.instruments[0].market) for r in recordings}
    if len(domains) != 1:
        raise DatasetError(f"recordings of one source and market are needed, got {domains}")
    source, market = domains.pop()
    settings = DatasetSettings(
        tier=tier, every_s=every_s, labels=labels, features=features or FeatureSettings(),
        costs=CostSettings.for_market(market) if costs is None else costs,
    )  # fmt: skip
    names: dict[str, int] = {}
    parts: dict[str, list[Any]] = {}
    recorded: dict[str, int] = {}
    for recording in recordings:
        symbols = [instrument.symbol for instrument in recording.instruments]
        rows = _until(recorded, symbols, recording.rows())
        played = play(recording.instruments, rows, settings=settings)
        if not len(played.at_ns):
            continue
        for s, instrument in enumerate(recording.instruments):
            arrays = label_steps(played, s, instrument, settings).arrays
            keep = (arrays["labels"] != CENSORED).any(axis=1)
            number = names.setdefault(instrument.symbol, len(names))
            arrays["symbol"] = np.full(len(keep), number, np.int32)
            for name in set(arrays) - {"mfe_bps", "mae_bps"}:
                parts.setdefault(name, []).append(arrays[name][keep])
    if not sum(map(len, parts.get("t0_ns", []))):
        raise DatasetError("no boundary of these recordings can be labelled: they are too short")
    found: dict[str, Any] = {name: np.concatenate(each) for name, each in parts.items()}
    unique = [
        average_uniqueness(found["t0_ns"], t1_ns, found["symbol"], SECOND_NS)
        for t1_ns in found["t1_ns"].T
    ]
    found["weights"] = np.mean(unique, axis=0).astype(np.float32)
    manifest = {**settings.manifest(source, market), "recorded_to_ns": recorded}
    return TrainingSet(symbols=tuple(names), manifest=manifest, **found).in_order().check()


def _until(
    recorded: dict[str, int], symbols: Sequence[str], batches: Iterable[Rows]
) -> Iterator[Rows]:
    """The batches as they come; `recorded` is told when the last row of each symbol arrived, those
    of all symbols among them."""
    for rows in batches:
        words = as_words(rows)
        heads = words[~pack_mask(words)]
        whose = heads[:, META] >> 32
        for number, symbol in enumerate(symbols):
            mine = heads[(whose == number) | (whose == ALL), ARRIVAL]
            if len(mine):
                recorded[symbol] = max(recorded.get(symbol, 0), int(mine[-1]))
        yield rows


def keep_labels(made: TrainingSet, stores: Stores, var_dir: Path) -> int:
    """Append the labels of a dataset to the cold store; how many there are, 0 where it is off. The
    same dataset again adds nothing."""
    cold = open_cold(stores.where(), cold_directory(var_dir), stores.memory_limit)
    if cold is None:
        return 0
    table, batch = labels_table(made)
    kept = cold.append("labels", table, batch)
    cold.close()
    return kept


def settings_of(flags: argparse.Namespace, tree: Config) -> DatasetSettings:
    """What the command line asks for on top of the configuration. Raises ConfigError."""
    labels = tree.labels.model_dump()
    if flags.horizons:
        labels["horizons_s"] = [int(text) for text in flags.horizons.split(",")]
    features = FeatureSet(tree.features).reduced(flags.feature or ["*"])
    given = {
        "tier": flags.tier, "side": -1 if flags.side == "short" else 1, "every_s": flags.every,
        "half_spread_bps": flags.half_spread_bps, "labels": labels,
        "features": features.settings.model_dump(),
        "costs": tree.costs.model_dump(),
    }  # fmt: skip
    try:
        return DatasetSettings.model_validate({k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise ConfigError(str(error)) from error


def sessions_of(flags: argparse.Namespace, tree: Config) -> list[Session]:
    """The sources that the command line names. Raises ConfigError where it names none."""
    if flags.symbol:
        first = date.fromisoformat(getattr(flags, "from"))
        series = series_of(
            flags.market or tree.venue.market, flags.kind or ["klines"], flags.symbol, "1m"
        )
        step_ns = DatasetSettings.model_construct(tier=flags.tier).step_ns
        return [
            HistorySession(
                str((flags.history or tree.paths.under("history")).resolve()), tuple(series),
                first.isoformat(), date.fromisoformat(flags.to or str(first)).isoformat(),
                tree.history.delays, tree.history.seed, step_ns,
            )
        ]  # fmt: skip
    found = tree.paths.under("history").glob("*/manifest.json")
    given = flags.recordings or sorted(path.parent for path in found)
    if not given:
        raise ConfigError(
            "no recording is given and none lies in the history; run backfill_history"
        )
    return [RecordingSession(str(Path(path).resolve())) for path in given]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.build_features")
    add = parser.add_argument
    add("recordings", type=Path, nargs="*", help="default: all of <var_dir>/history")
    add("--out", type=Path, help="default: <var_dir>/datasets/history")
    add("--tier", choices=TIERS, default="book", help="what the labels are judged on")
    add("--side", choices=("long", "short"), default="long")
    add("--horizons", help="seconds, ascending, as 60,300; default: labels")
    add("--every", type=int, default=1, help="keep the boundaries of every so many seconds")
    add("--half-spread-bps", type=float, help="assumed on tape and bars; default: 1")
    add("--feature", action="append", help="name with *; families with none are left out")
    add("--symbol", action="append", help="of the history instead of a recording; may come often")
    add("--history", type=Path, help="default: <var_dir>/history")
    add("--market", help="of the history; default: venue.market")
    add("--kind", action="append", help="of the history, may come often; default: klines")
    add("--from", metavar="DAY", help="first day of the history, UTC")
    add("--to", metavar="DAY", help="last day, UTC; default: the first")
    add("--no-ray", action="store_true", help="one after the other in this process")
    add("--parallel", type=int, help="tasks at the same time; default: the cluster's cores")
    add("--tidy", action="store_true", help="remove what only a later build would use")
    add("--cold", action="store_true", help="labels into the cold store too")
    add("--json", action="store_true", help="one JSON document on stdout")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    if flags.symbol and not getattr(flags, "from"):
        parser.error("--symbol asks for --from")
    try:
        tree = load().tree
        sessions = sessions_of(flags, tree)
        built = build_store(
            flags.out or tree.paths.under("datasets", "history"),
            sessions,
            settings_of(flags, tree),
            use_ray=not flags.no_ray,
            parallel=flags.parallel,
            show=not flags.json,
        )
        if flags.tidy:
            clear_work(built.directory)
        if flags.cold:
            keep_labels(read_dataset(built.directory), tree.stores, tree.paths.under())
    except (ConfigError, ValueError) as error:
        print(f"build_features: {error}", file=sys.stderr)
        return 2
    except ForeshockError as error:
        print(f"build_features: {error}", file=sys.stderr)
        return 1
    done = built.as_dict()
    if flags.json:
        json.dump(done, sys.stdout)
    else:
        print(
            f"{done['rows']} rows of {done['symbols']} symbols, surges {done['surges']}, "
            f"{done['parts']['made']} of {done['parts']['all']} parts made: {done['directory']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
