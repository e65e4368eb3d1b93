"""The pictures of a training, as PNG: a function each, the same evidence the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foreshock.validation import measures
from pipelines import plot_panels as panels
from pipelines.evidence import HorizonEvidence, RunEvidence
from pipelines.plot_panels import BASELINES, FAINT, HIT, INK, LOSS, MODEL

Panel = Callable[[Axes, HorizonEvidence, RunEvidence], None]
_HORIZON_COLOURS: Final = (MODEL, LOSS, HIT, "#8a6fb0", "#b08a2e", "#5a9aa8")


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture.

    title, words   what it shows and how to read it
    draw           evidence → figure, or the reason why there is none
    """

    title: str
    words: str
    draw: Callable[[RunEvidence], Figure | str]


def draw_all(evidence: RunEvidence) -> tuple[dict[str, bytes], dict[str, str]]:
    """(PNGs by name, reasons by the name of what was not drawn)."""
    drawn, left_out = {}, {}
    for name, plot in PLOTS.items():
        found = plot.draw(evidence)
        if isinstance(found, str):
            left_out[name] = found
        else:
            drawn[name] = png(found)
    return drawn, left_out


def png(figure: Figure) -> bytes:
    """The figure's bytes, which depend on nothing but the figure and matplotlib's version."""
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def _by_horizon(panel: Panel, height: float = 3.6, need: str = "") -> Callable[..., Figure | str]:
    def draw(run: RunEvidence) -> Figure | str:
        if not run.horizons:
            return "no horizon was tested"
        if need and not any(getattr(told, need) for told in run.horizons):
            return f"this kind of model has no {need}"
        count = len(run.horizons)
        across = min(count, 3)
        figure = Figure(
            figsize=(4.2 * across + 0.2, height * math.ceil(count / across)), layout="constrained"
        )
        for k, told in enumerate(run.horizons):
            axes = figure.add_subplot(math.ceil(count / across), across, k + 1)
            _dress(axes)
            panel(axes, told, run)
            head = f"{told.horizon_s} s"
            axes.set_title(
                f"{head}: {axes.get_title()}" if axes.get_title() else head, fontsize=9, color=INK
            )
        return figure

    return draw


def _folds(run: RunEvidence) -> Figure | str:
    chosen = run.chosen
    if chosen is None or not chosen.cells:
        return "no fold was tried before the final fit"
    horizons = sorted({int(cell["horizon_s"]) for cell in chosen.cells})
    figure, axes = _one(7.2, 3.6)
    for k, horizon_s in enumerate(horizons):
        colour = _HORIZON_COLOURS[k % len(_HORIZON_COLOURS)]
        shift = 0.16 * (k - (len(horizons) - 1) / 2)
        others = [cell for trial in run.trials if not trial.chosen for cell in trial.cells]
        for cells, mark, size, alpha in ((others, "_", 6, 0.35), (chosen.cells, "o", 6, 1.0)):
            own = [cell for cell in cells if int(cell["horizon_s"]) == horizon_s]
            axes.plot(
                [cell["fold"] + shift for cell in own], [_finite(cell["skill"]) for cell in own],
                mark, color=colour, markersize=size, alpha=alpha,
                label=f"{horizon_s} s" if mark == "o" else None,
            )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(sorted({int(cell["fold"]) for cell in chosen.cells}))
    axes.set_xlabel("fold, in order of time")
    axes.set_ylabel("Brier skill")
    axes.legend(fontsize=7, frameon=False, ncols=len(horizons))
    return figure


def _trials(run: RunEvidence) -> Figure | str:
    known = [trial for trial in run.trials if math.isfinite(trial.skill)]
    if not known:
        return "no trial has a figure"
    figure, axes = _one(7.2, 3.6)
    kinds = sorted({trial.kind for trial in run.trials})
    for k, kind in enumerate(kinds):
        own = [trial for trial in known if trial.kind == kind]
        colour = _HORIZON_COLOURS[k % len(_HORIZON_COLOURS)]
        axes.plot([t.number for t in own], [t.skill for t in own], "o", markersize=4, color=colour,
                  alpha=0.8, label=f"{kind}, {len(own)}")  # fmt: skip
    best = np.maximum.accumulate([trial.skill for trial in known])
    axes.step([t.number for t in known], best, where="post", color=FAINT, linewidth=1,
              label="best so far")  # fmt: skip
    chosen = run.chosen
    if chosen is not None and math.isfinite(chosen.skill):
        axes.plot([chosen.number], [chosen.skill], "o", markersize=11, markerfacecolor="none",
                  markeredgecolor=INK, label="shipped")  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("trial, in order")
    axes.set_ylabel("mean Brier skill over folds and horizons")
    lost = len(run.trials) - len(known)
    axes.set_title(f"{len(run.trials)} tried" + (f", {lost} without a figure" if lost else ""),
                   fontsize=9, color=INK)  # fmt: skip
    axes.legend(fontsize=7, frameon=False)
    return figure


def _models(run: RunEvidence) -> Figure | str:
    kinds = list(dict.fromkeys(kind for told in run.horizons for kind in told.baselines))
    if not kinds:
        return "no baseline was fitted beside the model"
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    asked: tuple[tuple[str, Callable[[HorizonEvidence, Any], float], float], ...] = (
        ("Brier skill", lambda told, p: measures.brier_skill(told.label, p), 0.0),
        (
            "PR-AUC ÷ base rate",
            lambda told, p: measures.pr_auc(told.label, p) / told.base_rate,
            1.0,
        ),
    )
    width = 0.8 / (len(kinds) + 1)
    for k, (word, measure, nothing) in enumerate(asked):
        axes = figure.add_subplot(1, 2, k + 1)
        _dress(axes)
        for j, kind in enumerate(["model", *kinds]):
            colour = MODEL if kind == "model" else BASELINES[(j - 1) % len(BASELINES)]
            heights = []
            for told in run.horizons:
                p = told.probability if kind == "model" else told.baselines.get(kind)
                able = p is not None and 0.0 < told.base_rate < 1.0
                heights.append(measure(told, p) - nothing if able else math.nan)
            places = np.arange(len(run.horizons)) + (j - len(kinds) / 2) * width
            axes.bar(places, heights, 0.92 * width, bottom=nothing, color=colour, label=kind)
        axes.axhline(nothing, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(run.horizons)), [f"{told.horizon_s} s" for told in run.horizons])
        axes.set_ylabel(word)
        axes.grid(axis="x", visible=False)
        if k == 0:
            axes.legend(fontsize=7, frameon=False)
    return figure


def _pr_lift(told: HorizonEvidence, p: Any) -> float:
    return measures.pr_auc(told.label, p) / told.base_rate


def _losses(run: RunEvidence) -> Figure | str:
    if not run.losses:
        return "the model has no trees: there are no rounds"
    figure, axes = _one(7.2, 3.6)
    for k, (name, (train, check)) in enumerate(run.losses.items()):
        colour = _HORIZON_COLOURS[k % len(_HORIZON_COLOURS)]
        axes.plot(range(1, len(train) + 1), train, "--", color=colour, linewidth=1)
        axes.plot(range(1, len(check) + 1), check, "-", color=colour, linewidth=1.4, label=name)
    axes.plot([], [], "--", color=FAINT, label="on training rows")
    axes.set_xlabel("round")
    axes.set_ylabel("log loss")
    axes.legend(fontsize=7, frameon=False)
    return figure


def _summary(run: RunEvidence) -> Figure | str:
    if not run.horizons:
        return "no horizon was tested"
    approved = dict(zip(run.card["horizons_s"], run.card["approved"], strict=True))
    told = next((each for each in run.horizons if approved.get(each.horizon_s)), run.horizons[0])
    figure = Figure(figsize=(12.6, 7.0), layout="constrained")
    verdict = run.card.get("verdict") or ("promoted" if run.card["promoted"] else "refused")
    words = f"{verdict.replace('_', ' ')}; {told.horizon_s} s"
    figure.suptitle(f"{run.card['name']} {run.card['version']}: {words}", fontsize=11, color=INK)
    chosen: tuple[tuple[str, Panel], ...] = (
        ("predicted and realised", panels.reliability),
        ("precision and recall", panels.pr_curve),
        ("spread of probabilities", panels.scores),
        ("the rule, after costs", panels.equity),
        ("net by threshold", panels.thresholds),
        ("what it leans on", _ten_most),
    )
    for k, (title, panel) in enumerate(chosen):
        axes = figure.add_subplot(2, 3, k + 1)
        _dress(axes)
        panel(axes, told, run)
        below = axes.get_title()
        axes.set_title(f"{title}: {below}" if below else title, fontsize=9, color=INK)
    return figure


def _ten_most(axes: Axes, told: HorizonEvidence, run: RunEvidence) -> None:
    panels.importance(axes, told, run, 10)


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _dress(axes)
    return figure, axes


def _dress(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)


def _finite(value: Any) -> float:
    return math.nan if value is None else float(value)


PLOTS: Final[Mapping[str, Plot]] = {
    "summary": Plot(
        "Overview",
        "The first horizon that passed, or else the first: six pictures of it.",
        _summary,
    ),
    "reliability": Plot(
        "Is 30 % three in ten?",
        "Ten groups of test rows by predicted probability. Bars are 95 % intervals that count "
        "independent stretches of time, not rows.",
        _by_horizon(panels.reliability),
    ),
    "precision_recall": Plot(
        "Precision and recall",
        "Orange: where the threshold stands, with the 95 % interval of its precision.",
        _by_horizon(panels.pr_curve),
    ),
    "roc": Plot("Recall and false alarms", "Area 0.5 is a coin's.", _by_horizon(panels.roc_curve)),
    "scores": Plot(
        "How probabilities are spread",
        "Surges and the rest by probability; rows on a log scale.",
        _by_horizon(panels.scores),
    ),
    "over_time": Plot(
        "Predicted and realised over the test part",
        "A gap that opens with time is drift.",
        _by_horizon(panels.over_time),
    ),
    "equity": Plot(
        "What the stated rule earned",
        "The sum of all trades after costs, losses included. No compounding, no leverage.",
        _by_horizon(panels.equity),
    ),
    "trades": Plot(
        "Single trades",
        "Net of each; the outer hundredth is drawn at the edge. The interval takes trades for "
        "independent, which flatters it.",
        _by_horizon(panels.trades),
    ),
    "thresholds": Plot(
        "Where to begin to speak",
        "Mean net of a row by threshold, on the test part. The threshold was fitted before, on the "
        "calibration part; this only shows whether it fell well.",
        _by_horizon(panels.thresholds),
    ),
    "outlook": Plot(
        "How far, beside whether",
        "What was said of the outcome before costs, and what came. Bars are 95 % intervals of the "
        "mean that count independent stretches of time, not rows.",
        _by_horizon(panels.outlook, need="outlook"),
    ),
    "importance": Plot(
        "What the model leans on",
        "The 30 features with the largest share of the gain.",
        _by_horizon(panels.importance, 5.2, "importance"),
    ),
    "models": Plot(
        "Beside simpler models",
        "The same test rows. A model that does not beat the simplest one is not worth its trees.",
        _models,
    ),
    "folds": Plot(
        "Fold by fold",
        "Brier skill of the shipped recipe in each fold; dashes are the other trials.",
        _folds,
    ),
    "trials": Plot(
        "All that was tried",
        "The best of many looks better than it is: the gate counts them all.",
        _trials,
    ),
    "losses": Plot("Loss by round", "Solid: on rows that were not trained on.", _losses),
}
