"""What a model's probabilities were worth on a test part: its figures, and what the gate weighs.

The rows, labels, bills and the rule are the same for every model that is reported on, so that a
baseline's figures can be laid beside the model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet
from foreshock.validation import measures
from foreshock.validation.bounds import (
    calibration_shift,
    mean_lower_bound,
    precision_interval,
    skill_lower,
)
from foreshock.validation.deflate import TooShortError, sharpe
from foreshock.validation.promotion import Decision, Evidence, PromotionSettings, Verdict
from foreshock.validation.rule import RuleSettings, net_bps, period_returns, take
from foreshock.validation.trials import Trial, effective, matrix
from pipelines.tried import Tried, fold_returns

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
TOP_SHARES: Final = (0.01, 0.05)


class JudgeSettings(Protocol):
    """What a judge reads of the training settings."""

    @property
    def promotion(self) -> PromotionSettings:
        """What a horizon must show."""

    @property
    def rule(self) -> RuleSettings:
        """How a model's words are traded."""

    @property
    def block_horizons(self) -> float:
        """Length of a block of the skill's bootstrap, in horizons."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One horizon on its test part: JSON-ready figures, and the returns behind them.

    figures      None where the data cannot give one
    returns_bps  (T,) by period
    """

    figures: dict[str, Any]
    returns_bps: Floats


def judged(
    p: Floats, data: TrainingSet, rows: Rows, h: int, threshold: float, settings: JudgeSettings
) -> Judged:
    """Judge probabilities `p` (m,) of the test part's `rows` (m,), with a threshold that was fixed
    before. Rows without a known label are left out; raises DatasetError where none is left."""
    known = data.labels[rows, h] >= 0
    begin, end = int(data.t0_ns[rows].min()), int(data.end_ns[rows].max()) + 1
    symbols = len(np.unique(data.symbol[rows]))
    rows, q = rows[known], p[known]
    if len(rows) == 0:
        raise DatasetError(f"horizon {data.horizons_s[h]} s: the test part has no known label")
    y, t0, t1, symbol = (
        data.labels[rows, h], data.t0_ns[rows], data.t1_ns[rows, h], data.symbol[rows],
    )  # fmt: skip
    far, near, bill = (value[rows, h] for value in (data.far_bps, data.near_bps, data.bill_bps))
    alpha = settings.promotion.alpha / len(data.horizons_s)
    block_ns = int(settings.block_horizons * data.horizons_s[h] * SECOND_NS)

    spoken = measures.speaks(q, far, near, bill, threshold)
    taken = take(spoken, t0, t1, symbol, settings.rule)
    net = net_bps(data.outcome_bps[rows, h], bill)
    returns = period_returns(taken, t1, net, begin, end, settings.rule.period_ns, symbols)
    clusters = positive_clusters(t0, t1, symbol, y)
    figures: dict[str, Any] = {
        "rows": len(rows),
        "surges": int((y == 1).sum()),
        "independent_surges": int(clusters.max(initial=-1)) + 1,
        "base_rate": float(y.mean()),
        "blocks": len(np.unique(t0 // block_ns)),
        "brier": measures.brier(y, q),
        "brier_skill": measures.brier_skill(y, q),
        "brier_skill_lower": skill_lower(y, q, t0, block_ns, alpha),
        "log_loss": measures.log_loss(y, q),
        **_calibration(y, q),
        **_ranking(y, q),
        **_above(y, q, threshold, spoken, len(taken), settings.promotion),
        **_money(net[taken], returns, symbols, alpha, settings),
    }
    clean = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()
    }
    return Judged(clean, returns)


def _calibration(y: NDArray[np.int8], q: Floats) -> dict[str, float]:
    slope, intercept = measures.calibration_line(y, q)
    return {
        "calibration_error": measures.expected_calibration_error(y, q),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration_shift": calibration_shift(y, q),
    }


def _ranking(y: NDArray[np.int8], q: Floats) -> dict[str, float]:
    """How well surges are put on top; `precision_top_1pct` is of the likeliest hundredth."""
    order = np.argsort(-q, kind="stable")
    tops = {
        f"precision_top_{round(share * 100)}pct": float(
            y[order[: max(1, round(share * len(y)))]].mean()
        )
        for share in TOP_SHARES
    }
    auc, rate = measures.pr_auc(y, q), float(y.mean())
    lift = auc / rate if rate else math.nan
    return {"pr_auc": auc, "pr_auc_over_base_rate": lift, **tops}


def _above(
    y: NDArray[np.int8], q: Floats, threshold: float, spoken: NDArray[np.bool_], trades: int,
    settings: PromotionSettings,
) -> dict[str, float | int]:  # fmt: skip
    """What was said and what came: of all rows at or above the threshold, and of those at which the
    model speaks (its bill is covered too), with as many independent ones as there are trades."""
    precision, count = measures.precision_above(y, q, threshold)
    above = q >= threshold
    said = float(q[spoken].mean()) if spoken.any() else math.nan
    came = float(y[spoken].mean()) if spoken.any() else math.nan
    low = high = math.nan
    if trades:
        low, high = precision_interval(came, trades, settings.precision_confidence)
    ece = measures.expected_calibration_error(y[above], q[above]) if count else math.nan
    return {
        "precision": precision,
        "recall": float(above[y == 1].mean()) if (y == 1).any() else math.nan,
        "accuracy": float((above == (y == 1)).mean()),
        "rows_above_threshold": count,
        "calibration_error_above": ece,
        "rows_spoken": int(spoken.sum()),
        "said_when_spoken": said,
        "precision_when_spoken": came,
        "precision_low": low,
        "precision_high": high,
    }


def _money(
    net: Floats, returns: Floats, symbols: int, alpha: float, settings: JudgeSettings
) -> dict[str, float | int]:
    """The rule's trades after costs; per trade in bps of its notional, per period in bps of the
    capital of all symbols."""
    trades = len(net)
    lower = mean_lower_bound(returns, alpha, draws=settings.promotion.draws)
    walked = np.concatenate([[0.0], np.cumsum(returns)])
    try:
        ratio = sharpe(returns)
    except TooShortError:
        ratio = math.nan
    return {
        "trades": trades,
        "periods": len(returns),
        "utility_bps": float(net.mean()) if trades else 0.0,
        "utility_bps_lower": lower * len(returns) * symbols / trades if trades else math.nan,
        "utility_total_bps": float(net.sum()),
        "share_won": float((net > 0).mean()) if trades else math.nan,
        "return_bps": float(returns.mean()),
        "return_bps_lower": lower,
        "sharpe": ratio,
        "drawdown_bps": float((np.maximum.accumulate(walked) - walked).max()),
    }


def evidence_of(
    result: Judged, counting: Sequence[Trial], tried: Tried, missing: int, data: TrainingSet, h: int
) -> Evidence:
    """What the gate is told of one horizon.

    counting   the trials that count, each once
    missing    further ones of which nobody has returns: they count in full
    """
    figures, horizon_s = result.figures, data.horizons_s[h]

    def figure(name: str) -> float:
        value = figures[name]
        return math.nan if value is None else float(value)

    return Evidence(
        returns_bps=result.returns_bps,
        trades=figures["trades"],
        surges=figures["independent_surges"],
        skill=figure("brier_skill"),
        skill_lower=figure("brier_skill_lower"),
        slope=figure("calibration_slope"),
        shift=figure("calibration_shift"),
        ece=figure("calibration_error"),
        said=figure("said_when_spoken"),
        came=figure("precision_when_spoken"),
        said_rows=figures["trades"],
        fold_returns_bps=fold_returns(tried.cells, horizon_s),
        trial_returns_bps=matrix(tried.now, horizon_s),
        trials=effective(counting, horizon_s) + missing,
    )


def verdict_of(decisions: Sequence[Decision]) -> Verdict:
    """The model's: promoted where a horizon is; else refused where one is."""
    verdicts = {decision.verdict for decision in decisions}
    order: tuple[Verdict, ...] = ("promoted", "refused", "insufficient_sample")
    return next(verdict for verdict in order if verdict in verdicts)


def reason_of(horizons_s: tuple[int, ...], decisions: Sequence[Decision]) -> str:
    """Why it was promoted or not, horizon by horizon."""
    told = [
        f"{s} s: {'' if d.promoted else d.verdict + ', '}{d.words}"
        for s, d in zip(horizons_s, decisions, strict=True)
    ]
    if any(decision.promoted for decision in decisions):
        kept = [words for words, d in zip(told, decisions, strict=True) if d.promoted]
        return "promoted; " + "; ".join(kept)
    return "not promoted; " + "; ".join(told)
