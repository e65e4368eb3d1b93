"""What is drawn of one horizon, on axes that are handed in. matplotlib without a window."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from foreshock.market.clock import SECOND_NS
from foreshock.models.outlook import EXPECTED, HIGH, LOW, arranged
from foreshock.validation.forecasts import equal_groups
from pipelines.evidence import (
    HorizonEvidence,
    RunEvidence,
    by_threshold,
    mean_interval,
    precision_recall,
    reliability_bins,
    roc,
    share_interval,
)

INK, MODEL, HIT, LOSS, FAINT = "#22303c", "#1f5fa8", "#3b7f3f", "#c4591c", "#9aa5b1"
BASELINES: Final = ("#8a6fb0", "#b08a2e", "#5a9aa8", "#a8607f", "#6f7f5a")
LEAST: Final = 20


def reliability(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """Predicted against realised, with intervals."""
    bins = reliability_bins(told)
    means, shares = [b.mean for b in bins], [b.share for b in bins]
    top = min(1.0, 1.1 * max([*means, *(b.high for b in bins), told.threshold, 0.05]))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", label="ideal")
    for each in bins:
        axes.plot([each.mean] * 2, [each.low, each.high], color=MODEL, linewidth=1.2, alpha=0.6)
    axes.plot(means, shares, "o-", color=MODEL, markersize=4, linewidth=1.2, label="model")
    for colour, (kind, p) in zip(BASELINES, told.baselines.items(), strict=False):
        groups = equal_groups(p, 10)
        said = [float(p[rows].mean()) for rows in groups]
        came = [float(np.mean(told.label[rows] == 1)) for rows in groups]
        axes.plot(said, came, ".-", color=colour, linewidth=0.8, markersize=3, label=kind)
    axes.axhline(told.base_rate, color=FAINT, linewidth=0.8, label="base rate")
    above = told.probability >= told.threshold
    if above.any():
        share = float(np.mean(told.label[above] == 1))
        low, high = share_interval(share, len(np.unique(told.blocks[above])))
        at = float(told.probability[above].mean())
        axes.plot([at] * 2, [low, high], color=LOSS, linewidth=1.4)
        axes.plot([at], [share], "o", color=LOSS, markersize=5, label="above the threshold")
        top = max(top, min(1.0, 1.05 * max(high, at)))
    _threshold(axes, told)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("realised share of surges")
    _legend(axes)


def pr_curve(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """Precision against recall; baselines beside it."""
    for colour, (kind, p) in zip(BASELINES, told.baselines.items(), strict=False):
        axes.plot(*precision_recall(told.label, p), color=colour, linewidth=1, label=kind)
    recall, precision = precision_recall(told.label, told.probability)
    axes.plot(recall, precision, color=MODEL, linewidth=1.6, label="model")
    axes.axhline(told.base_rate, color=FAINT, linewidth=0.8, linestyle="--", label="base rate")
    above = told.probability >= told.threshold
    if above.any() and (told.label == 1).any():
        hits = int((told.label[above] == 1).sum())
        share, total = hits / int(above.sum()), int((told.label == 1).sum())
        low, high = share_interval(share, len(np.unique(told.blocks[above])))
        axes.plot([hits / total] * 2, [low, high], color=LOSS, linewidth=1.4)
        axes.plot([hits / total], [share], "o", color=LOSS, markersize=5, label="threshold")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    _legend(axes, "upper right")


def roc_curve(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """Recall against false alarms; baselines beside it."""
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle="--")
    for colour, (kind, p) in zip(BASELINES, told.baselines.items(), strict=False):
        wrong, right, area = roc(told.label, p)
        axes.plot(wrong, right, color=colour, linewidth=1, label=f"{kind}, area {area:.3f}")
    wrong, right, area = roc(told.label, told.probability)
    axes.plot(wrong, right, color=MODEL, linewidth=1.6, label=f"model, area {area:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("share of false alarms")
    axes.set_ylabel("recall")
    _legend(axes, "lower right")


def scores(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """How probabilities are spread, surges and the rest."""
    top = max(float(told.probability.max()), told.threshold, 0.01)
    edges = np.linspace(0, min(1.0, 1.02 * top), 41)
    for value, colour, word in ((0, FAINT, "no surge"), (1, HIT, "surge")):
        p = told.probability[told.label == value]
        if len(p):
            axes.hist(p, edges, color=colour, alpha=0.75, label=f"{word}, {len(p):,} rows")
    axes.set_yscale("log")
    _threshold(axes, told)
    axes.set_xlabel("probability")
    axes.set_ylabel("rows (log)")
    _legend(axes, "upper right")


def equity(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """What the stated rule earned over the test part, after costs."""
    rows = told.trades(run.rule)
    when, total = _curve(told, rows)
    axes.axhline(0, color=INK, linewidth=0.8)
    if len(rows) == 0:
        _nothing(axes, "the rule traded nothing")
        return
    peak = np.maximum.accumulate(total)
    axes.fill_between(when, total, peak, step="post", color=LOSS, alpha=0.15, label="drawdown")
    axes.step(when, total, where="post", color=MODEL, linewidth=1.4, label="after costs")
    net = told.net_bps[rows]
    won = float(np.mean(net > 0))
    axes.set_title(
        f"{len(rows):,} trades, {won:.0%} won, {net.mean():+.2f} bps each", fontsize=8, color=INK
    )
    axes.set_xlabel(f"test part, {_unit(told)}")
    axes.set_ylabel("Σ net, bps of one notional")
    _legend(axes, "best")


def thresholds(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """What a row would have earned by where one begins to speak."""
    at, mean, count = by_threshold(told)
    enough = count >= LEAST  # the mean of a few rows says nothing and dwarfs the rest
    at, mean, count = at[enough], mean[enough], count[enough]
    axes.axhline(0, color=INK, linewidth=0.8)
    if len(at) == 0:
        _nothing(axes, f"fewer than {LEAST} rows have a probability that pays their bill")
        return
    axes.plot(at, mean, color=MODEL, linewidth=1.4, label="net a row")
    _threshold(axes, told)
    axes.set_xlabel("threshold")
    axes.set_ylabel("mean net, bps")
    twin = axes.twinx()
    twin.plot(at, count, color=FAINT, linewidth=1, label="rows spoken")
    twin.set_yscale("log")
    twin.set_ylabel("rows spoken (log)", color=FAINT, fontsize=8)
    twin.tick_params(labelsize=7, colors=FAINT)
    _legend(axes, "best")


def over_time(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """Predicted and realised share of surges by stretches of the test part."""
    count = max(2, min(12, len(np.unique(told.blocks)) // 8))
    edges = np.linspace(int(told.t0_ns[0]), int(told.t0_ns[-1]) + 1, count + 1)
    part = np.searchsorted(edges, told.t0_ns, side="right") - 1
    centres = _since(told, (edges[:-1] + edges[1:]) / 2)
    y, blocks = told.label == 1, told.blocks
    for k in range(count):
        rows = part == k
        if not rows.any():
            continue
        share = float(y[rows].mean())
        low, high = share_interval(share, len(np.unique(blocks[rows])))
        axes.plot([centres[k]] * 2, [low, high], color=HIT, linewidth=1.2, alpha=0.6)
        axes.plot([centres[k]], [share], "o", color=HIT, markersize=4)
    mean = [float(told.probability[part == k].mean()) if (part == k).any() else math.nan
            for k in range(count)]  # fmt: skip
    axes.plot(centres, mean, "-", color=MODEL, linewidth=1.4, label="predicted")
    axes.plot([], [], "o", color=HIT, markersize=4, label="realised")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"test part, {_unit(told)}")
    axes.set_ylabel("share of surges")
    _legend(axes, "lower left")


def trades(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """What single trades left, and their mean with its interval."""
    net = told.net_bps[told.trades(run.rule)]
    if len(net) == 0:
        _nothing(axes, "the rule traded nothing")
        return
    span = float(np.quantile(np.abs(net), 0.99)) or 1.0
    edges = np.linspace(-span, span, 41)
    _, _, bars = axes.hist(np.clip(net, -span, span), edges, color=HIT, alpha=0.75)
    for bar, left in zip(list(bars), edges[:-1], strict=False):  # type: ignore[call-overload]
        if left < -1e-9:
            bar.set_facecolor(LOSS)
    mean, half = mean_interval(net)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.axvline(mean, color=MODEL, linewidth=1.4, label=f"mean {mean:+.2f} bps")
    if math.isfinite(half):
        axes.axvspan(mean - half, mean + half, color=MODEL, alpha=0.15, label="95 % of the mean")
    axes.set_xlabel("net of a trade, bps")
    axes.set_ylabel("trades")
    _legend(axes, "best")


def outlook(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    """What was said of the outcome's size beside what came, by tenths of the rows: by width of the
    band where there is one, else by what was expected."""
    said, came = told.outlook, told.outlook["outcome_bps"]
    levels = run.card.get("outlook", {}).get("outputs", {})
    band = LOW in said and HIGH in said
    low, high = arranged(said[LOW], said[HIGH]) if band else (came, came)
    by = high - low if band else next(said[name] for name in said if name != "outcome_bps")
    groups = equal_groups(by, 10)
    x, blocks = np.arange(1, len(groups) + 1), told.blocks
    if band:
        axes.fill_between(
            x, [low[g].mean() for g in groups], [high[g].mean() for g in groups],
            color=MODEL, alpha=0.15, label="band",
        )  # fmt: skip
        for name in (each for each in (LOW, HIGH) if each in levels):
            ends = [float(np.quantile(came[g], levels[name])) for g in groups]
            axes.plot(x, ends, "_", color=HIT, markersize=9)
        axes.plot([], [], "_", color=HIT, label="what came, the same quantiles")
    for name in said:
        if name not in ("outcome_bps", LOW, HIGH):
            style = "-" if name == EXPECTED else ":"
            axes.plot(x, [said[name][g].mean() for g in groups], style, color=MODEL,
                      linewidth=1.4, label=name.removesuffix("_bps"))  # fmt: skip
    for k, group in zip(x, groups, strict=True):
        _, where = np.unique(blocks[group], return_inverse=True)
        stretches = np.bincount(where, came[group]) / np.bincount(where)
        half = mean_interval(stretches)[1]
        mean = float(came[group].mean())
        axes.plot([k], [mean], "o", color=HIT, markersize=4)
        if math.isfinite(half):
            axes.plot([k, k], [mean - half, mean + half], color=HIT, linewidth=1.2, alpha=0.6)
    axes.plot([], [], "o", color=HIT, markersize=4, label="what came, mean")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(f"tenths of the rows by {'width of the band' if band else 'what was said'}")
    axes.set_ylabel("outcome, bps")
    _legend(axes)


def importance(axes: Axes, told: HorizonEvidence, run: RunEvidence, most: int = 30) -> None:
    """Which features the model leans on."""
    found = sorted(told.importance.items(), key=lambda each: (-each[1], each[0]))[:most]
    if not found:
        _nothing(axes, "this kind of model tells none")
        return
    names, values = [name for name, _ in found][::-1], [value for _, value in found][::-1]
    axes.barh(names, values, color=MODEL, height=0.7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("share of the gain")
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="y", visible=False)


def _curve(told: HorizonEvidence, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = rows[np.argsort(told.t1_ns[rows], kind="stable")]
    when = _since(told, told.t1_ns[order].astype(np.float64))
    return np.append(0.0, when), np.append(0.0, np.cumsum(told.net_bps[order]))


def _since(told: HorizonEvidence, at_ns: np.ndarray) -> np.ndarray:
    seconds = (at_ns - float(told.t0_ns[0])) / SECOND_NS
    return seconds / {"days": 86_400, "hours": 3_600, "minutes": 60}[_unit(told)]


def _unit(told: HorizonEvidence) -> str:
    span_s = float(told.t0_ns[-1] - told.t0_ns[0]) / SECOND_NS
    return "days" if span_s > 3 * 86_400 else "hours" if span_s > 3 * 3_600 else "minutes"


def _threshold(axes: Axes, told: HorizonEvidence) -> None:
    axes.axvline(told.threshold, color=LOSS, linewidth=1, linestyle=":", label="threshold")


def _legend(axes: Axes, place: str = "upper left") -> None:
    axes.legend(loc=place, fontsize=7, framealpha=0.75, edgecolor="none")


def _nothing(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=FAINT)
