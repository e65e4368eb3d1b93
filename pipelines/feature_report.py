"""What each feature of a dataset tells by itself, out of sample:
`python -m pipelines.feature_report DATASET --horizon 900`.

The first part of the time decides whether a feature's large or its small values speak for a surge;
the rest, an embargo later, judges. There, for each feature: the rank information coefficient with
the outcome of the label, and the average precision with which it ranks surges, as lift over the
base rate, both with bounds from whole blocks of time that hold for *all* features together
(`foreshock.validation.information`). A feature whose bounds reach over nothing carries nothing that
this much data could show.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError, ForeshockError
from foreshock.labels.balance import Balance, balance
from foreshock.labels.barriers import CENSORED, SURGE
from foreshock.labels.overlap import purge
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet
from foreshock.validation import information as info
from pipelines.datasets import read_dataset

DAY_S: Final = 86_400

Bounded = Callable[..., info.Bounds]


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How features are judged.

    learn_share   share of the time whose rows decide the direction
    block_s       length of a bootstrap block; labels and moods of a day hang together
    embargo_s     between the spans of the two parts
    together      bounds that hold for all features at once; without it for each by itself
    """

    learn_share: float = 0.4
    block_s: int = DAY_S
    embargo_s: int = 3_600
    draws: int = 400
    alpha: float = 0.05
    together: bool = True


@dataclass(frozen=True, slots=True)
class Judged:
    """One feature; NaN where the data cannot say.

    known       share of the judged rows that have a value
    direction   1: large values speak for a rise; −1: small ones; from the earlier part
    ic          mean daily rank correlation of direction · feature with the outcome, with bounds
    precision   average precision with which the feature ranks surges, from the end that spoke for
                surges in the earlier part
    lift        precision over the base rate of the same rows, with bounds; a coin has 1
    """

    name: str
    known: float
    direction: int
    ic: float
    ic_lower: float
    ic_upper: float
    precision: float
    lift: float
    lift_lower: float
    lift_upper: float

    @property
    def told(self) -> bool:
        """Whether either measure has a figure: the feature was known, and did not stand still."""
        return bool(np.isfinite(self.ic) or np.isfinite(self.lift))

    @property
    def carries(self) -> bool:
        """Whether either measure is above nothing, bounds and all, in the learned direction."""
        return self.ic_lower > 0 or self.lift_lower > 1


@dataclass(frozen=True, slots=True)
class Report:
    """All features of one horizon; `blocks` and `rows` are those of the judging part, `balance` is
    that of the whole dataset."""

    horizon_s: int
    rows: int
    blocks: int
    base_rate: float
    balance: Balance
    features: tuple[Judged, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        body = asdict(self)
        for told, judged in zip(body["features"], self.features, strict=True):
            told["carries"] = judged.carries
        return body


def balance_of(data: TrainingSet, horizon_s: int, step_ns: int) -> Balance:
    """Base rate, overlap and uniqueness of one horizon; cells of `step_ns`."""
    h = data.horizons_s.index(horizon_s)
    t1_ns = np.ascontiguousarray(data.t1_ns[:, h])
    label = np.ascontiguousarray(data.labels[:, h])
    return balance(label, data.t0_ns, t1_ns, data.symbol, step_ns)


def judge_features(
    data: TrainingSet, horizon_s: int, settings: ReportSettings, step_ns: int = SECOND_NS
) -> Report:
    """Judge every feature. Raises DatasetError where either part is empty."""
    h = data.horizons_s.index(horizon_s)
    learn, judge = _parts(data, h, settings)
    outcome = data.outcome_bps[:, h].astype(np.float64)
    surge = data.labels[judge, h] == SURGE
    early, late = (
        info.draw_blocks(data.t0_ns[rows], settings.block_s * SECOND_NS, draws=settings.draws)
        for rows in (learn, judge)
    )
    early_surge = (data.labels[learn, h] == SURGE).astype(np.float64)
    signs, known, ics, precisions, lifts = [], [], [], [], []
    for column in range(data.X.shape[1]):
        x = data.X[:, column].astype(np.float64)
        x[~np.isfinite(x)] = np.nan
        sign = info.direction(x[learn], outcome[learn], early)
        score = sign * x[judge]
        # A large move may come after small values of what speaks for a rise: which end speaks for
        # a surge is learned from surges.
        surge_sign = info.direction(x[learn], early_surge, early)
        precision, lift = info.lift_draws(surge_sign * x[judge], surge, late)
        ics.append(info.ic_draws(info.block_ics(score, outcome[judge], late), late))
        signs.append(sign)
        known.append(float(np.isfinite(score).mean()))
        constant = len(np.unique(score[np.isfinite(score)])) < 2
        precisions.append(np.nan if constant else float(precision[0]))
        lifts.append(np.full_like(lift, np.nan) if constant else lift)
    bounds: Bounded = info.simultaneous if settings.together else info.pointwise
    ic = bounds(np.stack(ics, axis=1), late.blocks, settings.alpha)
    lift_of = bounds(np.stack(lifts, axis=1), late.blocks, settings.alpha)
    features = tuple(
        Judged(
            name, known[k], signs[k], float(ic.estimate[k]), float(ic.lower[k]),
            float(ic.upper[k]), precisions[k], float(lift_of.estimate[k]),
            float(lift_of.lower[k]), float(lift_of.upper[k]),
        )
        for k, name in enumerate(data.feature_names)
    )  # fmt: skip
    return Report(
        horizon_s, len(judge), late.blocks, float(surge.mean()),
        balance_of(data, horizon_s, step_ns), features,
    )  # fmt: skip


def _parts(
    data: TrainingSet, h: int, settings: ReportSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows that decide the direction, rows that judge), each in order of time."""
    times = np.unique(data.t0_ns)
    cut_ns = int(times[int(len(times) * settings.learn_share)])
    answered = data.labels[:, h] != CENSORED
    order = np.argsort(data.t0_ns, kind="stable").astype(np.int64)
    order = order[answered[order]]
    before = data.t0_ns[order] < cut_ns
    judge = order[~before]
    spans = (data.t0_ns, np.ascontiguousarray(data.t1_ns[:, h]))
    learn = purge(order[before], judge, *spans, settings.embargo_s * SECOND_NS)
    if not len(learn) or not len(judge):
        raise DatasetError(
            f"{len(order)} labels over {(times[-1] - times[0]) / SECOND_NS:g} s leave nothing to "
            f"learn a direction from, or nothing to judge by, at {settings.learn_share:g} of the "
            f"time and an embargo of {settings.embargo_s} s"
        )
    return learn, judge


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.feature_report")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--horizon", type=int, help="seconds; default: the longest")
    parser.add_argument("--block-s", type=int, default=DAY_S, help="default: a day")
    parser.add_argument("--embargo-s", type=int, default=ReportSettings.embargo_s)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(arguments)
    try:
        data = read_dataset(flags.dataset)
        horizon_s = flags.horizon or data.horizons_s[-1]
        if horizon_s not in data.horizons_s:
            raise DatasetError(f"{flags.dataset} has horizons {data.horizons_s}, not {horizon_s}")
        settings = ReportSettings(block_s=flags.block_s, embargo_s=flags.embargo_s)
        report = judge_features(data, horizon_s, settings)
    except ForeshockError as error:
        print(f"feature_report: {error}", file=sys.stderr)
        return 1
    if flags.json:
        json.dump(report.as_dict(), sys.stdout)
        return 0
    print(f"{report.rows} rows in {report.blocks} blocks, base rate {report.base_rate:.4f}")
    for judged in sorted(report.features, key=lambda j: -np.nan_to_num(j.ic, nan=-1.0)):
        mark = "carries" if judged.carries else "nothing"
        print(
            f"{judged.name:32s} {mark}  ic {judged.ic:+.4f} [{judged.ic_lower:+.4f}, "
            f"{judged.ic_upper:+.4f}]  lift {judged.lift:.3f} [{judged.lift_lower:.3f}, "
            f"{judged.lift_upper:.3f}]"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
