"""What the whole pipeline learned from recorded months: swept, exported, judged, losses included.

    python examples/05_results.py --data ../shared/data --work var/results --out docs

The datasets are those of `04_real_months.py`: one-minute bars of the 24 most traded pairs of April
2021 (spot) and of 16 perpetuals of May 2025, and raw sessions of book and tape. Each is swept with
the preset 10/2/2 (ten days of training and more, two of calibration, two of test), every trial and
every baseline beside each other; the best recipe is fitted anew, exported, calibrated on its own
graph, certified and judged on the last two days, which nothing before has seen. It leaves
`results.md` in --out, and the models in --work. What was done before is not done again.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import DatasetError
from foreshock.models.artifact import load_card
from foreshock.models.base import ModelCard
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.validation.search import Range, SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings
from pipelines.real_months import MONTHS, SESSIONS, Month, month_dataset, session_dataset
from pipelines.training import TrainingSettings
from pipelines.tune_models import tune

PRESET = "10/2/2"
TRIALS = 8
SEED = 7
LEAST_KNOWN = 0.5  # columns known less often than this (no tape, no book) are left out
SEARCH = SearchSettings(
    baselines=("logistic",),
    space={
        "trees": Range(choices=(60, 120, 240)),
        "leaves": Range(choices=(7, 15, 31)),
        "learning_rate": Range(low=0.01, high=0.1, log=True),
        "min_leaf_rows": Range(choices=(100, 400, 1600)),
        "feature_share": Range(choices=(0.3, 0.6)),
        "l2": Range(low=1.0, high=100.0, log=True),
    },
)
BASE = BoostedSettings(seed=SEED, min_leaf_rows=400, learning_rate=0.03, feature_share=0.5)


def known_columns(data: TrainingSet) -> TrainingSet:
    """The dataset without columns that bars cannot tell."""
    share = np.isfinite(data.X).mean(axis=0)
    names = [n for n, s in zip(data.feature_names, share, strict=True) if s >= LEAST_KNOWN]
    return data.with_features(names)


def trained(data: TrainingSet, work: Path, name: str, preset: str) -> dict[str, Any]:
    """Sweep, ship and judge; the report of `pipelines.tune_models.tune`. The sweep goes on where
    it was left, the model is made anew."""
    shutil.rmtree(work / f"model-{name}", ignore_errors=True)
    return tune(
        data,
        work / f"model-{name}",
        settings=TrainingSettings(walk=WalkForwardSettings(preset=preset)),
        base=BASE,
        trials=TRIALS,
        seed=SEED,
        use_ray=False,
        search=SEARCH,
        runs=work / "runs",
        resume=True,
        show=True,
    )


def number(value: Any, form: str = ".4f") -> str:
    """A figure, or a dash where the data could not give it."""
    return "–" if value is None else format(value, form)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is words, the others figures."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def trials_table(report: dict[str, Any]) -> str:
    """Every trial of the sweep, by its own telling."""
    lines = []
    for place, trial in enumerate(report["trials"]):
        recipe = trial["settings"]
        told = ", ".join(f"{k} {recipe[k]}" for k in SEARCH.space if k in recipe)
        chosen = " **(chosen)**" if place == report["chosen"] else ""
        lines.append([
            f"{place}: {recipe['kind']}{chosen}", told or "as it is", str(trial["folds"]),
            trial["state"], number(trial["skill"], "+.4f"),
        ])  # fmt: skip
    return table(("trial", "recipe", "folds", "state", "mean Brier skill"), lines)


def folds_table(card: ModelCard) -> str:
    """The chosen recipe, fold by fold, out of sample."""
    lines = [
        [
            str(cell["fold"]), f"{cell['horizon_s']} s", number(cell["skill"], "+.4f"),
            str(cell["trades"]), number(cell["return_bps"], "+.1f"), cell["refused"],
        ]
        for cell in card.folds
    ]  # fmt: skip
    head = ("fold", "horizon", "Brier skill", "trades", "return after costs, bps", "refused")
    return table(head, lines)


def judged_table(card: ModelCard) -> str:
    """The model and its baselines on the judge's two days."""
    models = [(f"**{card.kind}**", card.metrics), *sorted(card.baselines.items())]
    lines = []
    for horizon_s in card.horizons_s:
        for name, metrics in models:
            if "refused" in metrics:
                continue  # told below the table
            m = metrics[str(horizon_s)]
            lines.append([
                f"{horizon_s} s, {name}", number(m["base_rate"], ".2%"),
                f"{number(m['brier_skill'], '+.4f')} [{number(m['brier_skill_lower'], '+.4f')}, …)",
                number(m["pr_auc_over_base_rate"], ".2f"),
                number(m["precision_top_1pct"], ".1%"),
                number(m["calibration_slope"], ".2f"), number(m["calibration_error"]),
                str(m["trades"]),
                f"{number(m['utility_bps'], '+.1f')} [{number(m['utility_bps_lower'], '+.1f')}, …)",
            ])  # fmt: skip
    head = (
        "horizon, model", "base rate", "Brier skill [lower bound]", "PR-AUC / base rate",
        "precision of the top 1 %", "calibration slope", "ECE", "trades",
        "net bps a trade [lower bound]",
    )  # fmt: skip
    missing = "\n".join(
        f"- baseline {name}: {metrics['refused']}"
        for name, metrics in models
        if "refused" in metrics
    )
    return table(head, lines) + (f"\n\n{missing}" if missing else "")


def summary(card: ModelCard) -> str:
    """What the judge's part says, in a sentence a horizon: a claim only where a bound allows it."""
    lines = []
    for horizon_s in card.horizons_s:
        m = card.metrics[str(horizon_s)]
        lower = m["brier_skill_lower"]
        skill = (
            "tells surges better than their base rate, with confidence"
            if lower is not None and lower > 0
            else "cannot be said to tell surges better than their base rate"
        )
        money = f"the rule took {m['trades']} trades"
        if m["trades"]:
            bound = m["utility_bps_lower"]
            sure = "with" if bound is not None and bound > 0 else "without"
            money += f", {m['utility_bps']:+.1f} bps each after costs, {sure} confidence"
        lines.append(f"- {horizon_s} s: the {card.kind} model {skill}; {money}.")
    return "\n".join(lines)


def decisions(card: ModelCard) -> str:
    """The gate's answer, test by test."""
    lines = [
        f"- {test['horizon_s']} s, {test['name']}: {test['outcome']}: {test['words']}"
        for test in card.promotion
        if test["outcome"] != "passed"
    ]
    return "\n".join(lines) if lines else "- every test passed"


def told_month(month: Month, data: TrainingSet, report: dict[str, Any], card: ModelCard) -> str:
    """The section of one month."""
    days = len(np.unique(data.t0_ns // (86_400 * 10**9)))
    return "\n\n".join([
        f"## {month.title}",
        f"{len(data.symbols)} pairs, {len(data):,} rows of {len(data.feature_names)} columns, "
        f"{days} days from {month.first}, {report['folds']} folds of the sweep, "
        f"{report['counted_trials']} trials counted, bill {card.cost_version}. Verdict: "
        f"**{card.verdict}**.",
        summary(card),
        "### Trials", trials_table(report),
        "### The chosen recipe, fold by fold", folds_table(card),
        "### On the judge's part, seen once", judged_table(card),
        "### What kept it from promotion" if not card.promoted else "### What the gate said",
        decisions(card),
    ])  # fmt: skip


def too_short(data_dir: Path, work: Path) -> str:
    """What the pipeline says of the raw sessions."""
    sessions = session_dataset([[data_dir / name for name in names] for names in SESSIONS])
    try:
        report = trained(sessions, work, "sessions", PRESET)
    except DatasetError as error:
        said = f"refused before any fit: {error}"
    else:
        said = report["reason"]
    return (
        "## Raw sessions, USD-M\n\n"
        f"Book and tape of {len(sessions.symbols)} pairs, {len(sessions):,} rows of "
        f"{len(np.unique(sessions.t0_ns)) / 60:.0f} minutes. {said}. Minutes of book say "
        "nothing of days: no model of the book tier can be judged from what is recorded here."
    )


def page(sections: Sequence[str]) -> str:
    """The whole page."""
    return "\n\n".join([
        "# Results on recorded months",
        "Written by `python examples/05_results.py`; seeds and settings are in that file. Surges "
        "are those of `docs/vocabulary.md`, bills those of `docs/costs.md` with a half spread of "
        "1 bp assumed, because bars tell none. Every figure is out of sample: trials on the "
        "sweep's test parts, the model and its baselines on the judge's part, which was looked at "
        "once. Lower bounds hold with 99 % over all horizons of a model together, from blocks of "
        "time drawn with replacement; a figure without a bound above nothing is not a claim.",
        *sections,
    ]) + "\n"  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, whatever the gate says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    default = os.environ.get("FORESHOCK_RECORDINGS", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--work", type=Path, default=Path("var/results"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    if not given.data.is_dir():
        raise DatasetError(f"{given.data} is no directory of recordings")
    sections = []
    for month in MONTHS:
        data = known_columns(month_dataset(month, given.data, given.work, None))
        report = trained(data, given.work, month.short, PRESET)
        card = load_card(given.work / f"model-{month.short}")
        sections.append(told_month(month, data, report, card))
        print(sections[-1])
    sections.append(too_short(given.data, given.work))
    (given.out / "results.md").write_text(page(sections))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
