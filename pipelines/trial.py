"""One trial on one fold: fit, calibrate, fix the threshold, test. What a sweep does thousands of
times, in any process, without Ray.

Everything that is learned (trees or weights, fills, scales, chosen columns, calibration,
threshold) is learned from the fold's training and calibration parts; the test part is only looked
at. The scores are the trainer's own, rounded to float32: recipes are compared by them, and the
shipped model is calibrated anew on its exported graph's scores.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.models.boosted import Binned, BoostedSettings, bin_rows, refuse
from foreshock.models.calibration import CalibrationSettings, calibrate
from foreshock.models.dataset import TrainingSet
from foreshock.models.family import fit_one
from foreshock.validation import measures
from foreshock.validation.rule import RuleSettings, net_bps, period_returns, take
from foreshock.validation.walk_forward import Fold, WalkForwardSettings, check_fold
from pipelines.fold_checks import check_horizon

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
CANDIDATES: Final = 32
RULE: Final = RuleSettings()


class TrialSettings(Protocol):
    """What a trial reads of the training settings."""

    @property
    def walk(self) -> WalkForwardSettings:
        """How time is cut."""

    @property
    def calibration(self) -> CalibrationSettings:
        """How scores become probabilities."""

    @property
    def rule(self) -> RuleSettings:
        """How what is spoken is traded."""

    @property
    def min_spoken(self) -> int:
        """Rows above a threshold at least."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One horizon of one fold: its figures on the test part, or why there are none.

    skill, log_loss   Brier skill against the test part's own base rate, and log loss; NaN: refused
    trades            what the rule took
    returns_bps       by period of the test part, from the rule (`validation.rule.period_returns`)
    by_symbol         (number of the symbol, its rows' Brier skill), where a symbol has both classes
    """

    fold: int
    horizon_s: int
    skill: float
    log_loss: float
    refused: str = ""
    trades: int = 0
    returns_bps: tuple[float, ...] = ()
    by_symbol: tuple[tuple[int, float], ...] = ()


def mean_skill(cells: Sequence[Cell]) -> float:
    """Mean Brier skill over the cells that have one; the sweep's objective. NaN where none has."""
    known = [cell.skill for cell in cells if math.isfinite(cell.skill)]
    return sum(known) / len(known) if known else math.nan


@dataclass(slots=True)
class Cache:
    """What the trials of one fold share in one process, least lately used dropped first: training
    rows already cut out and binned. Its content never changes a result."""

    limit_bytes: int = 2 << 30
    _held: OrderedDict[tuple[Any, ...], tuple[Any, int]] = field(default_factory=OrderedDict)

    def get(self, key: tuple[Any, ...], make: Callable[[], tuple[Any, int]]) -> Any:
        """What `make` gives, (value, bytes), made once and kept while there is room."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        value, size = make()
        while self._held and size + sum(s for _, s in self._held.values()) > self.limit_bytes:
            self._held.popitem(last=False)
        if size <= self.limit_bytes:
            self._held[key] = (value, size)
        return value


def evaluate_fold(
    recipe: BaseModel,
    data: TrainingSet,
    fold_number: int,
    fold: Fold,
    settings: TrialSettings,
    cache: Cache | None = None,
    scope: str = "",
    window_ns: tuple[int, int] | None = None,
) -> list[Cell]:
    """Fit, calibrate and test each horizon on one fold.

    cache       shared by trials of the same data; `scope` keeps folds of several scopes apart
    window_ns   begin and end of the periods whose returns are told; default, the test rows' own

    A horizon that the fold has too little of is a refused cell. Raises OverlapError where the spans
    of the fold's parts overlap: such a fold is never trained on.
    """
    cache = Cache() if cache is None else cache
    cache.get(
        ("checked", scope, fold_number),
        lambda: (check_fold(fold, data.t0_ns, data.end_ns, settings.walk.embargo_ns), 0),
    )
    if window_ns is None:
        end = int(data.end_ns[fold.test].max()) + 1
        window_ns = int(data.t0_ns[fold.test].min()), end
    cells = []
    for h, horizon_s in enumerate(data.horizons_s):
        try:
            check_horizon(data, fold.parts, h)
            score = _fitted(recipe, data, fold_number, fold, h, cache, scope)
            cells.append(_tested(score, data, fold_number, fold, h, settings, window_ns))
        except DatasetError as error:
            cells.append(Cell(fold_number, horizon_s, math.nan, math.nan, str(error)))
    return cells


def fit_threshold(
    p: Floats, data: TrainingSet, rows: Rows, h: int, min_spoken: int, rule: RuleSettings = RULE
) -> float:
    """The probability from which the rule would have earned most on `rows`, among at most
    CANDIDATES quantiles with at least `min_spoken` rows above; where none earned anything, the
    median row's break-even (near + bill) / (far + near).

    p      float (m,): probabilities of `rows`
    rows   of the calibration part, labels known
    """
    far, near, bill = (
        value[rows, h].astype(np.float64) for value in (data.far_bps, data.near_bps, data.bill_bps)
    )
    best, best_total = float(np.median(np.minimum((near + bill) / (far + near), 1.0))), 0.0
    hopeful = measures.speaks(p, far, near, bill, 0.0)
    levels = np.sort(p[hopeful])
    if len(levels) < min_spoken:
        return best
    net = net_bps(data.outcome_bps[rows, h], bill)
    t0, t1, symbol = data.t0_ns[rows], data.t1_ns[rows, h], data.symbol[rows]
    places = np.linspace(0, len(levels) - min_spoken, CANDIDATES).round().astype(int)
    for candidate in np.unique(levels[places]):
        taken = take(hopeful & (p >= candidate), t0, t1, symbol, rule)
        total = float(net[taken].sum())
        if total > best_total:
            best, best_total = float(candidate), total
    return best


def _fitted(
    recipe: BaseModel,
    data: TrainingSet,
    number: int,
    fold: Fold,
    h: int,
    cache: Cache,
    scope: str,
) -> Callable[[NDArray[np.float32]], Floats]:
    """Trained on the training part alone; what gives raw scores (n,) of rows (n, k)."""
    X = cache.get(("X", scope, number), lambda: _cut_out(data.X, fold.train))
    label, names = data.labels[fold.train, h], data.feature_names
    weights = None if data.weights is None else data.weights[fold.train]
    binned: Binned | None = None
    if isinstance(recipe, BoostedSettings):
        refuse(X, label[:, None], recipe, names, weights)  # before its rows are binned

        def bins() -> tuple[Binned, int]:
            made = bin_rows(X, label, names, recipe.threads, recipe.columns)
            return made, made.bytes

        binned = cache.get(("bins", scope, number, h, recipe.columns), bins)
    return fit_one(recipe, X, label, weights, names, binned).raw_score


def _cut_out(values: NDArray[Any], rows: Rows) -> tuple[NDArray[Any], int]:
    """(values[rows], bytes copied): a view where the rows are a range."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first == len(rows):
        return values[first:last], 0
    taken = values[rows]
    return taken, taken.nbytes


def _tested(
    score: Callable[[NDArray[np.float32]], Floats],
    data: TrainingSet,
    number: int,
    fold: Fold,
    h: int,
    settings: TrialSettings,
    window_ns: tuple[int, int],
) -> Cell:
    held, horizon_s = fold.calibration, data.horizons_s[h]
    rule = settings.rule
    cluster = positive_clusters(
        data.t0_ns[held], data.t1_ns[held, h], data.symbol[held], data.labels[held, h]
    )
    raw = score(data.X[held]).astype(np.float32)
    table = calibrate(raw, data.labels[held, h], cluster, settings.calibration)
    known = data.labels[held, h] >= 0
    p = table.apply(raw[known]).astype(np.float64)
    threshold = fit_threshold(p, data, held[known], h, settings.min_spoken, rule)

    rows = fold.test[data.labels[fold.test, h] >= 0]
    y = data.labels[rows, h]
    q = table.apply(score(data.X[rows]).astype(np.float32)).astype(np.float64)
    far, near, bill = (value[rows, h] for value in (data.far_bps, data.near_bps, data.bill_bps))
    spoken = measures.speaks(q, far, near, bill, threshold)
    t0, t1, symbol = data.t0_ns[rows], data.t1_ns[rows, h], data.symbol[rows]
    taken = take(spoken, t0, t1, symbol, rule)
    held_symbols = len(np.unique(data.symbol[fold.train]))
    returns = period_returns(
        taken, t1, net_bps(data.outcome_bps[rows, h], bill), *window_ns, rule.period_ns,
        held_symbols,
    )  # fmt: skip
    return Cell(
        number,
        horizon_s,
        measures.brier_skill(y, q),
        measures.log_loss(y, q),
        trades=len(taken),
        returns_bps=tuple(returns.tolist()),
        by_symbol=_by_symbol(y, q, symbol),
    )


def _by_symbol(
    y: NDArray[np.int8], q: Floats, symbol: NDArray[np.int32]
) -> tuple[tuple[int, float], ...]:
    """Each symbol's Brier skill against its own base rate, where it has both classes."""
    count = np.bincount(symbol)
    ones = np.bincount(symbol, y)
    error = np.bincount(symbol, (q - y) ** 2)
    out = []
    for number in np.flatnonzero((ones > 0) & (ones < count)).tolist():
        rate = ones[number] / count[number]
        reference = count[number] * rate * (1.0 - rate)
        out.append((number, float(1.0 - error[number] / reference)))
    return tuple(out)
