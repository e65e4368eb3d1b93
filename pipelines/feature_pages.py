"""A page and a picture of what the features of several datasets tell, for `docs/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foreshock.labels.balance import Balance
from foreshock.validation.events import EventStudy
from pipelines.feature_report import Judged, Report

COLOURS: Final = ("#1f5fa8", "#c4591c", "#3b7f3f")
NOTHING: Final = "#b8b8b8"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset that was looked at.

    title     "April 2021, spot"
    short     its name in the head of a column: "2021-04"
    what      a sentence: input, sampling, span
    symbols   names
    balances  by horizon in seconds
    report    of its features, None where it is too short for one
    conclusive  False where there is too little of it for any conclusion
    """

    title: str
    short: str
    what: str
    symbols: tuple[str, ...]
    balances: Mapping[int, Balance]
    report: Report | None
    conclusive: bool = True


def labels_table(datasets: Sequence[Dataset]) -> str:
    """Markdown: base rates, overlap and uniqueness, a line a dataset and horizon."""
    lines = [
        "| dataset | symbols | horizon | labels | censored | base rate | surges | events | "
        "uniqueness | labels alive at once | independent labels |",
        "|---|" + "---:|" * 10,
    ]
    for data in datasets:
        for horizon_s, told in data.balances.items():
            alive = 1.0 / told.uniqueness if told.uniqueness > 0 else float("nan")
            lines.append(
                f"| {data.title} | {len(data.symbols)} | {horizon_s} s | {told.rows:,} | "
                f"{told.censored:,} | {told.base_rate:.2%} | {told.positives:,} | "
                f"{told.clusters:,} | {told.uniqueness:.3f} | {alive:.1f} | {told.effective:,.0f} |"
            )
    return "\n".join(lines)


def features_table(datasets: Sequence[Dataset]) -> str:
    """Markdown: every feature that any report tells of, what carries most first."""
    told = [(data, data.report) for data in datasets if data.report is not None]
    by_name = [{j.name: j for j in report.features} for _, report in told]
    names = list(dict.fromkeys(n for features in by_name for n in features if features[n].told))
    names.sort(key=lambda name: _rank([f[name] for f in by_name if name in f]), reverse=True)
    conclusive = all(data.conclusive for data in datasets)
    head = ["feature", *(f"{what}, {d.short}" for d, _ in told for what in ("IC", "lift"))]
    lines = ["| " + " | ".join([*head, "carries in"]) + " |", "|---" * (len(head) + 1) + "|"]
    for name in names:
        cells, where = [f"`{name}`"], []
        for (data, _), features in zip(told, by_name, strict=True):
            judged = features.get(name)
            cells += ["", ""] if judged is None else [_ic(judged), _lift(judged)]
            if judged is not None and judged.carries:
                where.append(data.short)
        cells.append(", ".join(where) or "nothing" if conclusive else "too short to say")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def events_table(names: Sequence[str], study: EventStudy, offsets_s: Sequence[float]) -> str:
    """Markdown: features that stand out before an event, the earliest first, then how many do
    not."""
    first = study.first_told_s()
    at = [study.offsets_s.tolist().index(offset) for offset in offsets_s]
    chosen = np.flatnonzero(np.isfinite(first))
    size = np.nan_to_num(np.abs(study.mean[at[-1]]))
    chosen = chosen[np.lexsort((-size[chosen], first[chosen]))]
    head = [f"{offset:+g} s" for offset in offsets_s]
    lines = [
        "| feature | stands out from | " + " | ".join(head) + " |",
        "|---|---:|" + "---:|" * len(head),
    ]
    for k in chosen.tolist():
        cells = [
            f"{study.mean[o, k]:+.2f} [{study.lower[o, k]:+.2f}, {study.upper[o, k]:+.2f}]"
            for o in at
        ]
        lines.append(f"| `{names[k]}` | {first[k]:+g} s | " + " | ".join(cells) + " |")
    known = np.isfinite(study.mean[at[-1]])
    quiet = [names[k] for k in np.flatnonzero(known & ~np.isfinite(first)).tolist()]
    nothing = ", ".join(f"`{name}`" for name in quiet) or "none"
    return "\n".join([*lines, "", f"Nothing before the event ({len(quiet)}): {nothing}."])


def picture(path: Path, datasets: Sequence[Dataset]) -> Path:
    """A PNG: a line a feature, a point and its bounds a dataset; grey where they reach over
    nothing. Left the information coefficient, right the lift. Returns `path`."""
    told = [(data, data.report) for data in datasets if data.report is not None]
    by_name = [{j.name: j for j in report.features} for _, report in told]
    names = list(dict.fromkeys(n for features in by_name for n in features if features[n].told))
    names.sort(key=lambda name: _rank([f[name] for f in by_name if name in f]))
    figure = Figure(figsize=(12.0, 2.0 + 0.17 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for k, ((data, _), features) in enumerate(zip(told, by_name, strict=True)):
        colour, shift = COLOURS[k % len(COLOURS)], (k - (len(told) - 1) / 2) * 0.34
        for axes, what, nothing in ((left, "ic", 0.0), (right, "lift", 1.0)):
            axes.plot([], [], "o", color=colour, markersize=4, label=data.title)
            for y, name in enumerate(names):
                if name not in features:
                    continue
                judged = features[name]
                low, high = getattr(judged, f"{what}_lower"), getattr(judged, f"{what}_upper")
                shown = colour if low > nothing else NOTHING
                axes.plot([low, high], [y + shift] * 2, "-", color=shown, linewidth=1.2)
                axes.plot([getattr(judged, what)], [y + shift], "o", color=shown, markersize=2.6)
    for axes, nothing, title in (
        (left, 0.0, "rank information coefficient, learned direction"),
        (right, 1.0, "average precision over the base rate"),
    ):
        axes.axvline(nothing, color="black", linewidth=0.8)
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_ylim(-1, len(names))
    left.set_yticks(range(len(names)), names)
    right.legend(loc="lower right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def _rank(judged: Sequence[Judged]) -> tuple[int, float]:
    """What carries in more datasets first, then by the weakest information coefficient."""
    weakest = min((j.ic for j in judged if np.isfinite(j.ic)), default=-1.0)
    return sum(j.carries for j in judged), weakest


def _ic(judged: Judged) -> str:
    if not np.isfinite(judged.ic):
        return "–"
    sign = "+" if judged.direction > 0 else "−"
    return f"{sign} {judged.ic:+.3f}{_bounds(judged.ic_lower, judged.ic_upper, '+.3f')}"


def _lift(judged: Judged) -> str:
    if not np.isfinite(judged.lift):
        return "–"
    return f"{judged.lift:.2f}{_bounds(judged.lift_lower, judged.lift_upper, '.2f')}"


def _bounds(lower: float, upper: float, form: str) -> str:
    return f" [{lower:{form}}, {upper:{form}}]" if np.isfinite(lower) else " (no bounds)"
