"""Proof that the exported graph decides as the trainers did: same leaves, scores within bounds.

The rows it is shown are those that conversions fail on first (foreshock.models.probes): for every
split of every tree rows that *reach* it and stand on its threshold, one float32 above it, and at
NaN; rows of NaN, ±infinity, zeros, denormals and the edges of what LightGBM reads as zero; and
training rows with some of their values put on split points, up to a million in all. For each row
the leaf of each tree, by onnxruntime on the graph's own splits, must be the trainer's; the raw
score and the probability may be off by what float32 sums and the slope of the calibration explain;
and no decision may differ except where the probability is that near its threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from foreshock.errors import CertificateError, ModelError
from foreshock.models.calibration import Table
from foreshock.models.onnx import RAW, leaf_graph_of
from foreshock.models.parts import Linear, Part, TreeSum
from foreshock.models.probes import corners, edges, mixed, probes
from foreshock.models.session import open_session, run_graph, run_outputs
from foreshock.models.trees import Tree

UNIT: Final = 2.0**-24  # unit roundoff of float32
DOUBLE: Final = 2.0**-53  # of float64
TINY: Final = 1e-12  # what lies below the smallest number, and float64's own dust
ROWS_LEAST: Final = 1_000_000
BATCH: Final = 8192

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]


class Proven(Protocol):
    """What is asked of a fitted horizon: a `foreshock.models.family.Fitted`. One whose own scores
    are sums of float32 says so by an attribute `roundoff`, 2⁻²⁴."""

    @property
    def part(self) -> Part:
        """What was exported."""
        ...

    def raw_score(self, X: Rows) -> Floats:
        """The trainer's own scores (n,)."""
        ...

    def leaves(self, X: Rows) -> NDArray[np.int64] | None:
        """The trainer's own numbers of the leaves (n, T), None of what is no sum of trees."""
        ...


def certify(
    fitted: Sequence[Proven],
    graph: bytes,
    tables: Sequence[Table],
    rows: Rows,
    *,
    seed: int = 7,
    rows_least: int = ROWS_LEAST,
    random_rows: int = 512,
    thresholds: Sequence[float] | None = None,
    extra: Mapping[str, Sequence[Proven]] | None = None,
) -> dict[str, Any]:
    """The certificate, JSON-ready, of `graph` against what it was exported from.

    rows         vectors (n, k), n ≥ 1, to draw from: those of training
    rows_least   rows to compare at least; the probes alone are some ten thousand
    thresholds   H probabilities from which a decision is made
    extra        what the graph's further outputs were made from

    Raises CertificateError where a single leaf differs, a score by more than it may, or a decision
    of which the probability is not that near its threshold.
    """
    limits = list(thresholds) if thresholds is not None else [None] * len(fitted)
    columns = [
        _Column(RAW, h, f"horizon {h}", each, graph, table, limit)
        for h, (each, table, limit) in enumerate(zip(fitted, tables, limits, strict=True))
    ] + [
        _Column(name, h, f"{name} {h}", each, graph)
        for name, several in (extra or {}).items()
        for h, each in enumerate(several)
    ]
    session = open_session(graph)
    outputs = ["probability", RAW, *(extra or {})]
    kinds: dict[str, int] = {}
    for kind, X in _rows(columns, rows, seed, random_rows, rows_least):
        kinds[kind] = kinds.get(kind, 0) + len(X)
        found = dict(zip(outputs, run_outputs(session, X, outputs), strict=True))
        for column in columns:
            column.compare(X, found[column.output][:, column.h], found["probability"])
    return {
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        **{name: metadata.version(name) for name in ("lightgbm", "xgboost")},
        "onnxruntime": onnxruntime.__version__,
        "rows": sum(kinds.values()),
        "rows_by_kind": kinds,
        "horizons": [column.report() for column in columns if column.output == RAW],
        "extra": {
            name: [column.report() for column in columns if column.output == name]
            for name in extra or {}
        },
    }


def told(certificate: Mapping[str, Any]) -> list[str]:
    """The certificate in words, a line a column."""
    named = [(f"horizon {h}", each) for h, each in enumerate(certificate["horizons"])]
    for name, several in certificate.get("extra", {}).items():
        named += [(f"{name} {h}", each) for h, each in enumerate(several)]
    lines = []
    for name, each in named:
        words = [f"{name}: {each['rows']:,} rows"]
        if each["trees"]:
            words.append(f"{each['leaves_compared']:,} leaves in {each['trees']} trees the same")
        words.append(f"|Δ raw score| ≤ {each['raw_error']:.2g} (bound {each['raw_bound']:.2g})")
        if "probability_error" in each:
            error, bound = each["probability_error"], each["probability_bound"]
            words.append(f"|Δp| ≤ {error:.2g} (bound {bound:.2g})")
        if "decisions_changed" in each:
            words.append(f"{each['decisions_changed']} decisions changed, none outside the bound")
        lines.append(", ".join(words))
    return lines


def sum_bound(part: Part, size: Floats, unit: float = UNIT) -> Floats:
    """How far sums in floating point, in whatever order, may be from the exact ones: rounding of
    the terms plus Higham 2002, eq. 4.4.

    size   (n,) of each row, the sum of its terms' absolute values, without the constant
    """
    terms, constant = (
        (len(part.weight) + 8, part.intercept)  # four operations come before each product
        if isinstance(part, Linear)
        else (len(part.trees) + 2, part.initial)
    )
    return terms * unit / (1.0 - terms * unit) * (size + abs(constant)) + TINY


@dataclass(slots=True)
class _Column:
    """One column of one output, and what was found about it so far."""

    output: str
    h: int
    name: str
    fitted: Proven
    graph: bytes
    table: Table | None = None
    threshold: float | None = None
    rows: int = 0
    raw_error: float = 0.0
    raw_bound: float = 0.0
    p_error: float = 0.0
    p_bound: float = 0.0
    changed: int = 0
    part: Part = field(init=False)
    _sizes: Floats = field(init=False)  # (T, leaves) of trees, |leaf value| by its number
    _leaves: onnxruntime.InferenceSession | None = None

    def __post_init__(self) -> None:
        part = self.part = self.fitted.part
        if isinstance(part, TreeSum):
            most = max((int(tree.leaf.max()) for tree in part.trees), default=0)
            self._sizes = np.zeros((len(part.trees), most + 1))
            for t, tree in enumerate(part.trees):
                self._sizes[t, tree.leaf[tree.leaves]] = np.abs(tree.value[tree.leaves])
            try:
                self._leaves = open_session(leaf_graph_of(self.graph, self.output, self.h, part))
            except ModelError as error:
                raise CertificateError(f"{self.name}: {error}") from error

    def compare(self, X: Rows, raw: Rows, probability: Rows) -> None:
        """One batch of rows. Raises CertificateError."""
        size = self._compare_leaves(X)
        exact = self.fitted.raw_score(X)
        bound = sum_bound(self.part, size)
        bound += sum_bound(self.part, size, getattr(self.fitted, "roundoff", DOUBLE))
        off = np.abs(raw.astype(np.float64) - exact)
        self._within("raw score", off, bound)
        self.raw_error = max(self.raw_error, float(off.max()))
        self.raw_bound = max(self.raw_bound, float(bound.max()))
        if self.table is not None:
            p, bound = probability[:, self.h].astype(np.float64), self.table.slope * bound
            self._compare_decisions(p, self.table.exact(exact), bound + 8 * UNIT)
        self.rows += len(X)

    def _compare_leaves(self, X: Rows) -> Floats:
        """(n,): the sum of the absolute terms of each row, at most."""
        theirs = self.fitted.leaves(X)
        count = 0 if theirs is None else theirs.shape[1]
        if count != len(self._trees):
            raise CertificateError(f"{self.name}: {len(self._trees)} trees exported of {count}")
        if isinstance(self.part, Linear):
            most = float(np.abs(self.part.weight.astype(np.float64)).sum()) * self.part.limit
            return np.full(len(X), most)
        if theirs is None or self._leaves is None or not count:
            return np.zeros(len(X))
        ours = run_graph(self._leaves, X, "leaf")
        if not np.array_equal(ours, theirs):
            places = np.argwhere(ours != theirs)
            row, t = places[0]
            raise CertificateError(
                f"{self.name}: row {self.rows + row} falls into leaf {int(ours[row, t])} of tree "
                f"{t}, in training {theirs[row, t]} ({len(places)} leaves differ)"
            )
        out: Floats = self._sizes[np.arange(count), theirs].sum(axis=1)
        return out

    def _compare_decisions(self, p: Floats, exact: Floats, bound: Floats) -> None:
        off = np.abs(p - exact)
        self._within("probability", off, bound)
        self.p_error = max(self.p_error, float(off.max()))
        self.p_bound = max(self.p_bound, float(bound.max()))
        if self.threshold is not None:
            changed = (p >= self.threshold) != (exact >= self.threshold)
            self.changed += int(changed.sum())
            if (np.abs(exact - self.threshold) > bound)[changed].any():
                raise CertificateError(f"{self.name}: a decision changed outside the bound")

    def _within(self, what: str, off: Floats, bound: Floats) -> None:
        over = ~(off <= bound)  # NaN is over
        if over.any():
            row = int(np.argmax(np.where(np.isnan(off), np.inf, off - bound)))
            raise CertificateError(
                f"{self.name}: {what} off by {off[row]:.3g} (bound {bound[row]:.3g}) in row "
                f"{self.rows + row}"
            )

    @property
    def _trees(self) -> tuple[Tree, ...]:
        return self.part.trees if isinstance(self.part, TreeSum) else ()

    def report(self) -> dict[str, Any]:
        """What the certificate says of the column."""
        trees = self._trees
        out: dict[str, Any] = {
            "kind": getattr(self.fitted, "kind", ""),
            "trees": len(trees),
            "splits": int(sum(len(tree.splits) for tree in trees)),
            "rows": self.rows,
            "leaves_compared": self.rows * len(trees),
            "leaves_different": 0,
            "raw_error": self.raw_error,
            "raw_bound": self.raw_bound,
        }
        if self.table is not None:
            out["probability_error"], out["probability_bound"] = self.p_error, self.p_bound
        if self.threshold is not None:
            out["threshold"] = self.threshold if np.isfinite(self.threshold) else None  # JSON
            out["decisions_changed"] = self.changed
        return out


def _rows(
    columns: Sequence[_Column], rows: Rows, seed: int, random_rows: int, least: int
) -> Iterator[tuple[str, Rows]]:
    """(kind, batch) of all rows to compare, the same for the same arguments."""
    random = np.random.default_rng(seed)
    drawn = rows[random.integers(len(rows), size=min(random_rows, 4 * len(rows)))]
    parts = [column.part for column in columns]
    sets = [("as trained", drawn), ("special values", corners(drawn))]
    for i, part in enumerate(parts):
        if isinstance(part, TreeSum):
            sets.append(("on splits", probes(part.trees, drawn, seed + i)))
    made = 0
    for kind, found in sets:
        made += len(found)
        for start in range(0, len(found), BATCH):
            yield kind, found[start : start + BATCH]
    values = edges(parts, rows.shape[1])
    for X in mixed(rows, values, max(0, least - made), seed, BATCH):
        yield "mixed", X
