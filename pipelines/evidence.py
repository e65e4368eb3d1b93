"""What a training leaves behind for those who want to see for themselves: the test rows as they
were scored, what they earned, what else was tried, and what simpler models said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.models.base import ModelCard
from foreshock.models.dataset import TrainingSet
from foreshock.models.onnx import RAW
from foreshock.models.session import open_session, run_outputs
from foreshock.validation import measures
from foreshock.validation.forecasts import equal_groups
from foreshock.validation.rule import RuleSettings, net_bps, take

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class HorizonEvidence:
    """One horizon's test rows with a known label, n of them, ordered by time.

    t0_ns, t1_ns   int64 (n,): when the row speaks, and when its span ends
    symbol         int32 (n,): index into `RunEvidence.symbols`
    label          int8 (n,): 1 surge, 0 none
    probability    float64 (n,): calibrated, of the exported graph
    worth          bool (n,): whether the probability pays the bill, p·far − (1 − p)·near ≥ bill
    net_bps        float64 (n,): what a trade of the row leaves
    threshold      probability from which the model speaks
    importance     share of the gain by feature; empty for what has none
    baselines      probabilities (n,) of simpler models by their kind
    outlook        (n,) bps by the graph's further outputs, and `outcome_bps`, what came; empty of a
                   graph that has none
    """

    horizon_s: int
    t0_ns: Rows
    t1_ns: Rows
    symbol: NDArray[np.int32]
    label: NDArray[np.int8]
    probability: Floats
    worth: NDArray[np.bool_]
    net_bps: Floats
    threshold: float
    importance: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, Floats] = field(default_factory=dict)
    outlook: Mapping[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(
        cls, data: TrainingSet, rows: Rows, h: int, probability: Floats, threshold: float,
        importance: Mapping[str, float] | None = None,
        baselines: Mapping[str, Floats] | None = None,
        outlook: Mapping[str, Floats] | None = None,
    ) -> HorizonEvidence:  # fmt: skip
        """From a dataset's test rows.

        rows          int64: of the test part; those without a known label are left out
        probability   float64 (rows of `data`,): of every row of the dataset
        baselines     the same shape by kind; `outlook`: by output

        Raises DatasetError where no row has a label."""
        rows = rows[data.labels[rows, h] >= 0]
        if len(rows) == 0:
            raise DatasetError(f"horizon {data.horizons_s[h]} s: no test row has a known label")
        rows = rows[np.argsort(data.t0_ns[rows], kind="stable")]
        far, near, bill = data.far_bps[rows, h], data.near_bps[rows, h], data.bill_bps[rows, h]
        p = probability[rows].astype(np.float64)
        told = {"outcome_bps": data.outcome_bps[:, h], **outlook} if outlook else {}
        return cls(
            horizon_s=data.horizons_s[h],
            t0_ns=data.t0_ns[rows],
            t1_ns=data.t1_ns[rows, h],
            symbol=data.symbol[rows],
            label=data.labels[rows, h],
            probability=p,
            worth=measures.speaks(p, far, near, bill, 0.0),
            net_bps=net_bps(data.outcome_bps[rows, h], bill),
            threshold=threshold,
            importance=dict(importance or {}),
            baselines={kind: q[rows].astype(np.float64) for kind, q in (baselines or {}).items()},
            outlook={n: v[rows].astype(np.float64) for n, v in told.items()},
        )

    @property
    def spoken(self) -> NDArray[np.bool_]:
        """bool (n,): rows that the model speaks at."""
        return self.worth & (self.probability >= self.threshold)

    @property
    def base_rate(self) -> float:
        """Share of surges."""
        return float(np.mean(self.label == 1))

    @property
    def blocks(self) -> Rows:
        """int64 (n,): number of the (symbol, horizon-long stretch of time) a row is in. Rows of one
        share most of their label: intervals count stretches, not rows."""
        stretch = self.t0_ns // (self.horizon_s * SECOND_NS)
        both = np.stack([self.symbol.astype(np.int64), stretch])
        found: Rows = np.unique(both, axis=1, return_inverse=True)[1].reshape(-1)
        return found

    def trades(self, settings: RuleSettings) -> Rows:
        """Rows that the stated rule trades, in order of entry."""
        return take(self.spoken, self.t0_ns, self.t1_ns, self.symbol, settings)


@dataclass(frozen=True, slots=True, eq=False)
class TrialEvidence:
    """One recipe that was tried. `cells`: {"fold", "horizon_s", "skill", "log_loss", "trades",
    "returns_bps", "refused"} each, as `pipelines.trial.Cell` has them."""

    number: int
    kind: str
    scope: str
    cells: tuple[Mapping[str, Any], ...]
    chosen: bool = False
    reason: str = ""

    @property
    def skill(self) -> float:
        """Mean Brier skill of its cells; NaN where none has one."""
        known = [float(c["skill"]) for c in self.cells if math.isfinite(c.get("skill") or math.nan)]
        return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class RunEvidence:
    """All of one training.

    card       `ModelCard.model_dump(mode="json")`
    symbols    names
    trials     in the order they were tried
    losses     {name: (training loss by round, validation loss by round)} where the family tells
    """

    card: Mapping[str, Any]
    symbols: tuple[str, ...]
    horizons: tuple[HorizonEvidence, ...]
    trials: tuple[TrialEvidence, ...] = ()
    losses: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    rule: RuleSettings = field(default_factory=RuleSettings)

    @property
    def chosen(self) -> TrialEvidence | None:
        """The recipe that was shipped."""
        return next((trial for trial in self.trials if trial.chosen), None)


def share_interval(share: float, count: float) -> tuple[float, float]:
    """95 % interval of a share among `count` independent cases (Wilson 1927)."""
    if count <= 0:
        return 0.0, 1.0
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    half /= 1 + Z95**2 / count
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Floats) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, values taken for independent; NaN below two."""
    if len(values) < 2:
        return (float(values.mean()) if len(values) else math.nan), math.nan
    return float(values.mean()), Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like probability: mean p, share of surges with its interval, how many."""

    mean: float
    share: float
    low: float
    high: float
    rows: int
    independent: int


def reliability_bins(evidence: HorizonEvidence, bins: int = 10) -> list[Bin]:
    """Groups of about equally many rows by probability; rows of the same probability are never
    parted. Intervals count independent stretches (`HorizonEvidence.blocks`)."""
    out, blocks = [], evidence.blocks
    for rows in equal_groups(evidence.probability, bins):
        share = float(np.mean(evidence.label[rows] == 1))
        independent = len(np.unique(blocks[rows]))
        low, high = share_interval(share, independent)
        mean = float(evidence.probability[rows].mean())
        out.append(Bin(mean, share, low, high, len(rows), independent))
    return out


def precision_recall(label: NDArray[np.int8], p: Floats) -> tuple[Floats, Floats]:
    """(recall, precision), a point for each distinct probability, from the highest down."""
    order = np.argsort(-p, kind="stable")
    hits, last = np.cumsum(label[order] == 1), np.flatnonzero(np.append(np.diff(p[order]) != 0, 1))
    found = hits[last].astype(np.float64)
    return found / max(1, int(hits[-1])), found / (last + 1)


def roc(label: NDArray[np.int8], p: Floats) -> tuple[Floats, Floats, float]:
    """(false alarms, recall, area below), a point for each distinct probability and (0, 0)."""
    order = np.argsort(-p, kind="stable")
    y = label[order] == 1
    last = np.flatnonzero(np.append(np.diff(p[order]) != 0, 1))
    right, wrong = np.cumsum(y)[last], np.cumsum(~y)[last]
    tpr = np.append(0.0, right / max(1, int(right[-1])))
    fpr = np.append(0.0, wrong / max(1, int(wrong[-1])))
    return fpr, tpr, float(np.trapezoid(tpr, fpr))


def by_threshold(evidence: HorizonEvidence, points: int = 64) -> tuple[Floats, Floats, Rows]:
    """(threshold, mean net bps, rows spoken): what speaking from each of at most `points` quantiles
    of the probabilities would have earned a row. It looks at the test part: it explains the
    threshold, it never sets it."""
    p, net = evidence.probability[evidence.worth], evidence.net_bps[evidence.worth]
    if len(p) == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    order = np.argsort(-p, kind="stable")
    p, total = p[order], np.cumsum(net[order])
    last = np.flatnonzero(np.append(np.diff(p) != 0, 1))
    last = last[np.unique(np.linspace(0, len(last) - 1, points).astype(int))]
    count = last + 1
    return p[last], total[last] / count, count.astype(np.int64)


def evidence_of(
    card: ModelCard, graph: bytes, data: TrainingSet, test: Rows, *,
    trials: Sequence[TrialEvidence] = (),
    importance: Mapping[int, Mapping[str, float]] | None = None,
    losses: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    baselines: Mapping[str, Floats] | None = None,
    rule: RuleSettings | None = None,
) -> RunEvidence:  # fmt: skip
    """The evidence of a model that was made: its graph scores the test rows once more.

    test         (m,) rows of `data` in the card's test part
    importance   by horizon in seconds; the graph does not hold gains
    losses       by horizon in words, as `RunEvidence.losses`
    baselines    probabilities (m, H) of the test rows by kind

    Raises DatasetError where a horizon has no test row with a known label."""

    def spread(values: NDArray[np.floating]) -> Floats:
        """(n, H) over all rows of `data`, NaN where it is not of the test part."""
        out = np.full((len(data), len(card.horizons_s)), np.nan)
        out[test] = values
        return out

    session = open_session(graph)
    names = [output.name for output in session.get_outputs() if output.name != RAW]
    found = dict(zip(names, run_outputs(session, data.X[test], names), strict=True))
    said = {name: spread(values) for name, values in found.items()}
    p = said.pop("probability")
    beside = {kind: spread(values) for kind, values in (baselines or {}).items()}
    horizons = tuple(
        HorizonEvidence.of(
            data, test, h, p[:, h], card.thresholds[h], (importance or {}).get(horizon_s),
            {kind: values[:, h] for kind, values in beside.items()},
            {name: values[:, h] for name, values in said.items()},
        )
        for h, horizon_s in enumerate(card.horizons_s)
    )  # fmt: skip
    told = card.model_dump(mode="json")
    return RunEvidence(
        told, data.symbols, horizons, tuple(trials), losses or {}, rule=rule or RuleSettings()
    )
