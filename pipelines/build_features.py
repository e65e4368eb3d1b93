"""From recordings to a dataset: `python -m pipelines.build_features RECORDING …`.

Rows go through the very engine that runs live; its vectors become X, and the touch of every row the
path on which the labels are decided. A row of the dataset is a symbol at a boundary where a verdict
could have been given: the book SYNCED, the required features warm, the bill known.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.costs.barrier import barrier_bps
from foreshock.costs.total import CostSettings, bill
from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.errors import DatasetError
from foreshock.features import catalog
from foreshock.labels.barriers import CENSORED, SURGE, LabelSettings, label_quotes
from foreshock.labels.overlap import average_uniqueness
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import SYNCED, Rows, as_words
from foreshock.market.touch import ASK_TICKS, BID_TICKS, TOUCH_WORDS, VALID
from foreshock.models.dataset import TrainingSet
from foreshock.settings import load
from foreshock.stores.cold import open_cold
from foreshock.stores.cold_settings import Stores, cold_directory
from foreshock.stores.cold_tables import labels_table
from foreshock.stores.recordings import Recording, open_recording
from pipelines.datasets import write_dataset

_NEVER_NS: Final = np.iinfo(np.int64).max

Parts = dict[str, list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Played:
    """A recording gone through the engine: b boundaries, n symbols, m quotes.

    boundaries   in order
    quotes       int64 (m, 4): arrival_ns, symbol, bid_ticks, ask_ticks after each row that left a
                 valid touch, changed or not (the entry is the touch that stands after the latency)
    """

    boundaries: list[Boundary]
    quotes: NDArray[np.int64]


def play(
    instruments: Sequence[Instrument], batches: Iterable[Rows], start: bytes | None = None
) -> Played:
    """Run the engine over rows, from the beginning or from its snapshot `start`."""
    engine = Engine(instruments)
    if start is not None:
        engine.restore(start)
    ladder = engine.ladder._replace(
        **{name: array.copy() for name, array in engine.ladder._asdict().items()}
    )
    boundaries: list[Boundary] = []
    quotes = [np.zeros((0, 4), np.int64)]
    for rows in batches:
        boundaries += engine.feed(rows)
        quotes.append(_touches(rows, ladder))
    return Played(boundaries, np.concatenate(quotes))


def _touches(rows: Rows, ladder: books.Ladder) -> NDArray[np.int64]:
    words = as_words(rows)
    touch = np.zeros((len(words), TOUCH_WORDS), np.int64)  # pack rows stay 0, hence not VALID
    books.scan(words, touch, 0, len(words), _NEVER_NS, ladder)
    good = touch[:, VALID] == 1
    return np.stack(
        [
            rows["arrival_ns"][good],
            rows["symbol"][good].astype(np.int64),
            touch[good, BID_TICKS],
            touch[good, ASK_TICKS],
        ],
        axis=1,
    )


def censored_spans(boundaries: Sequence[Boundary], symbol: int) -> NDArray[np.int64]:
    """int64 (c, 2): the steps [start, end) at whose either end the book was not SYNCED, or within
    which a new epoch began."""
    at_ns = np.array([b.boundary_ns for b in boundaries], np.int64)
    good = np.array([b.book_state[symbol] for b in boundaries]) == SYNCED
    epoch = np.array([b.book_epoch[symbol] for b in boundaries])
    bad = ~good[1:] | ~good[:-1] | (np.diff(epoch) != 0)
    return np.stack([at_ns[:-1][bad], at_ns[1:][bad]], axis=1)


def build_dataset(
    recordings: Sequence[Recording],
    labels: LabelSettings,
    costs: CostSettings | None = None,
    *,
    every_s: int = 1,
) -> TrainingSet:
    """The dataset of long surges in `recordings`, ordered by (t0, symbol).

    labels    `bill_version` is set here, to the version of `costs`
    costs     the bill that moves the barriers; by default that of the recordings' market
    every_s   keep every so many boundaries: neighbours of one second say nearly the same

    Raises DatasetError where recordings differ in source or market, or nothing can be labelled."""
    domains = {(str(r.meta.get("source")), r.instruments[0].market) for r in recordings}
    if len(domains) != 1:
        raise DatasetError(f"recordings of one source and market are needed, got {domains}")
    source, market = domains.pop()
    costs = CostSettings.for_market(market) if costs is None else costs
    labels = labels.model_copy(update={"bill_version": costs.version})
    layout = catalog.layout()
    required = required_features()
    names: dict[str, int] = {}
    parts: Parts = {}
    for recording in recordings:
        played = play(recording.instruments, recording.rows())
        if not played.boundaries:
            continue
        for s, instrument in enumerate(recording.instruments):
            found = label_symbol(played, s, instrument.tick_size, labels, costs, every_s)
            keep = (found["labels"] != CENSORED).any(axis=1)
            found = {name: array[keep] for name, array in found.items()}
            number = names.setdefault(instrument.symbol, len(names))
            found["symbol"] = np.full(len(found["t0_ns"]), number, np.int32)
            for name, array in found.items():
                parts.setdefault(name, []).append(array)
    if not sum(map(len, parts.get("t0_ns", []))):
        raise DatasetError("no boundary of these recordings can be labelled: they are too short")
    arrays: dict[str, Any] = {name: np.concatenate(each) for name, each in parts.items()}
    manifest = {
        "feature_names": list(layout.names),
        "required_features": required,
        "layout_fingerprint": layout.fingerprint,
        "label_fingerprint": labels.fingerprint,
        "label_settings": labels.model_dump(mode="json"),
        "bill_version": costs.version,
        "horizons_s": list(labels.horizons_s),
        "domain": {"source": source, "market": market, "tier": "book"},
    }
    weights = np.mean(
        [
            average_uniqueness(arrays["t0_ns"], t1_ns, arrays["symbol"], SECOND_NS)
            for t1_ns in arrays["t1_ns"].T
        ],
        axis=0,
    )
    made = TrainingSet(
        symbols=tuple(names), manifest=manifest, weights=weights.astype(np.float32), **arrays
    )
    return made.in_order().check()


def required_features() -> list[str]:
    """Those that must be warm before a vector may be scored."""
    return [s.name for s in catalog.layout() if s.warmup_s <= catalog.REQUIRED_WARMUP_S]


def label_symbol(
    played: Played,
    s: int,
    tick_size: float,
    labels: LabelSettings,
    costs: CostSettings,
    every_s: int = 1,
) -> dict[str, NDArray[Any]]:
    """The arrays of one symbol's rows, `symbol` aside: one for each boundary where a verdict could
    have been given, those whose labels are all censored included."""
    required = np.flatnonzero(np.isin(catalog.layout().names, required_features()))
    boundaries = played.boundaries
    t0_ns = np.array([b.boundary_ns for b in boundaries], np.int64)
    horizons = np.array(labels.horizons_s, np.float64)
    vectors = np.array([b.vectors[s] for b in boundaries], np.float32)
    inputs = np.array([b.bill_inputs[s] for b in boundaries])
    scored = np.array([b.warm[s][required].all() for b in boundaries], np.bool_)
    scored &= np.array([b.book_state[s] for b in boundaries], np.int64) == SYNCED
    scored &= t0_ns // SECOND_NS % every_s == 0
    bills = bill(inputs, costs, horizons)["total_bps"]
    far, near = barrier_bps(inputs["volatility_1s"][:, None], horizons, bills, labels)
    quotes = played.quotes[played.quotes[:, 1] == s]
    made = [
        label_quotes(
            t0_ns,
            np.ascontiguousarray(far[:, h]),
            np.ascontiguousarray(near[:, h]),
            quotes[:, 0].copy(),
            quotes[:, 2] * tick_size,
            quotes[:, 3] * tick_size,
            horizon_s=horizon_s,
            latency_ms=labels.latency_ms,
            valid=scored,
            censor_spans_ns=censored_spans(boundaries, s),
            data_end_ns=int(t0_ns[-1]),
        )
        for h, horizon_s in enumerate(labels.horizons_s)
    ]
    label = np.stack([m.label for m in made], axis=1)
    return {
        "X": vectors[scored],
        "labels": label[scored],
        "t0_ns": t0_ns[scored],
        "t1_ns": np.stack([m.t1_ns for m in made], axis=1)[scored],
        "outcome_bps": np.stack([m.outcome_bps for m in made], axis=1)[scored].astype(np.float32),
        "bill_bps": bills[scored].astype(np.float32),
        "far_bps": far[scored].astype(np.float32),
        "near_bps": near[scored].astype(np.float32),
    }


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.build_features")
    parser.add_argument(
        "recordings", type=Path, nargs="*", help="default: all of <var_dir>/history"
    )
    parser.add_argument("--out", type=Path, help="default: <var_dir>/datasets/history")
    parser.add_argument("--horizons", help="seconds, ascending, as 60,300; default: labels")
    parser.add_argument(
        "--every", type=int, default=1, help="keep a boundary every so many seconds"
    )
    parser.add_argument("--cold", action="store_true", help="labels into the cold store too")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(arguments)
    tree = load().tree
    paths = tree.paths
    found = paths.under("history").glob("*/manifest.json")
    given = flags.recordings or sorted(path.parent for path in found)
    if not given:
        parser.error("no recording is given and none lies in the history; run backfill_history")
    labels = tree.labels
    if flags.horizons:
        horizons_s = [int(text) for text in flags.horizons.split(",")]
        labels = LabelSettings.model_validate({**labels.model_dump(), "horizons_s": horizons_s})
    recordings = [open_recording(path) for path in given]
    made = build_dataset(recordings, labels, tree.costs, every_s=flags.every)
    out = write_dataset(flags.out or paths.under("datasets", "history"), made, replace=True)
    if flags.cold:
        keep_labels(made, tree.stores, paths.under())
    counts = (made.labels == SURGE).sum(axis=0).tolist()
    surges = {str(h): count for h, count in zip(made.horizons_s, counts, strict=True)}
    done = {
        "directory": str(out),
        "rows": len(made),
        "symbols": len(made.symbols),
        "surges": surges,
    }
    if flags.json:
        json.dump(done, sys.stdout)
    else:
        print(f"{len(made)} rows of {len(made.symbols)} symbols, surges {surges}: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
