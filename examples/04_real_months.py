"""What real months say: which features tell anything of surges, out of sample.

    python examples/04_real_months.py --data ../shared/data --work var/real-months --out docs

It builds datasets of two months of one-minute bars (the 24 most traded pairs of April 2021, spot,
and 16 perpetuals of May 2025) and of raw sessions of book and tape, and studies planted surges of a
simulated exchange. For each feature it tells the rank information coefficient and the lift in
average precision, with bounds; for the labels base rates, overlap and uniqueness. It leaves
`real-months.md` and `real-months.png` in --out. What was built before is not built again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foreshock.errors import DatasetError
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import open_recording
from foreshock.validation.events import EventStudy, around, event_study, standard_scores
from pipelines.backfill_history import backfill_simulation
from pipelines.dataset_play import play
from pipelines.feature_pages import (
    Dataset,
    events_table,
    features_table,
    labels_table,
    picture,
)
from pipelines.feature_report import ReportSettings, balance_of, judge_features
from pipelines.real_months import (
    BARS_HORIZONS_S,
    MONTHS,
    SAMPLED_S,
    SESSION_HORIZONS_S,
    SESSIONS,
    Month,
    month_dataset,
    session_dataset,
)

JUDGED_S = 900
SESSION_BLOCK_S = 60
OFFSETS_S = (-60.0, -45.0, -30.0, -20.0, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0, 30.0)
QUIET_S = 90.0  # further than this from every planted surge


def told_month(month: Month, data: TrainingSet) -> Dataset:
    """Base rates of every horizon, features at one."""
    balances = {h: balance_of(data, h, 60 * SECOND_NS) for h in BARS_HORIZONS_S}
    settings = ReportSettings(embargo_s=JUDGED_S)
    report = judge_features(data, JUDGED_S, settings, 60 * SECOND_NS)
    days = np.unique(data.t0_ns // (86_400 * SECOND_NS))
    what = (
        f"{len(data.symbols)} pairs, one-minute bars, a boundary every {SAMPLED_S} s, "
        f"{len(days)} days from {month.first}; directions from the first "
        f"{settings.learn_share:.0%}, judged on {report.rows:,} labels of the {report.blocks} days "
        f"behind, base rate there {report.base_rate:.2%}"
    )
    return Dataset(month.title, month.short, what, data.symbols, balances, report)


def told_sessions(sessions: Sequence[Sequence[Path]], short: str) -> Dataset:
    """As `told_month`, with blocks of a minute: too few and too close for a conclusion."""
    data = session_dataset(sessions)
    balances = {h: balance_of(data, h, SECOND_NS) for h in SESSION_HORIZONS_S}
    horizon_s = SESSION_HORIZONS_S[-1]
    settings = ReportSettings(learn_share=0.5, block_s=SESSION_BLOCK_S, embargo_s=horizon_s)
    report = judge_features(data, horizon_s, settings)
    what = (
        f"{len(sessions)} sessions of eight minutes (2023 and 2024), book and tape, a boundary a "
        f"second; directions from the first half of the boundaries, judged on {report.rows:,} "
        f"labels of the {report.blocks} minutes behind, horizon {horizon_s} s"
    )
    return Dataset("raw sessions, USD-M", short, what, data.symbols, balances, report, False)


def planted_study(work: Path, seconds: int) -> tuple[list[str], EventStudy, int]:
    """(features, study, surges): what features look like around surges that were planted."""
    settings = SimulationSettings(seed=11, symbols=tuple(f"{n}USDT" for n in ("BTC", "ETH", "SOL")))
    directory = work / f"simulated-{seconds}"
    if not (directory / "manifest.json").exists():
        backfill_simulation(directory, settings, seconds)
    exchange = SimulatedExchange(settings)
    exchange.advance_buffer(settings.start_ns + seconds * SECOND_NS)
    truth = exchange.truth()
    recording = open_recording(directory)
    played = play(recording.instruments, recording.rows())
    offsets = np.array(OFFSETS_S)
    seen = []
    for s in range(len(recording.instruments)):
        events = truth["onset_ns"][truth["symbol"] == s]
        events = events[events > played.at_ns[0] + 600 * SECOND_NS]
        values = played.vectors[:, s].astype(np.float64)
        scores = standard_scores(values, played.at_ns, truth["onset_ns"][truth["symbol"] == s],
                                 QUIET_S)  # fmt: skip
        seen.append(around(scores, played.at_ns, events, offsets))
    every = np.concatenate(seen)
    return list(played.layout.names), event_study(every, offsets), len(every)


def listed_events(data: Path) -> str:
    """What the list of real pumps says by itself: their times."""
    listed = json.loads((data / "events/binance_spot_pumps_498.json").read_text())
    at = np.array([np.datetime64(e["time"].replace(" ", "T"), "s") for e in listed])
    second = at.astype(np.int64) % 3_600
    near = np.minimum(second, 3_600 - second) <= 60
    pairs = len({e["symbol"] for e in listed})
    return (
        f"The list at hand has {len(listed)} pumps of {pairs} pairs, {at.min()} to {at.max()}, "
        f"{near.mean():.0%} of them within a minute of a full hour. None of their minutes is at "
        "hand, on tape or in bars: what comes before a pump cannot be learned from it here, and "
        "the study is made on the simulated exchange, whose surges are planted."
    )


def page(
    months: Sequence[Dataset], sessions: Dataset, listed: str, names: Sequence[str],
    study: EventStudy, surges: int,
) -> str:  # fmt: skip
    """The whole page."""
    reports = [m.report for m in months if m.report is not None]
    carries = [sum(j.carries for j in report.features) for report in reports]
    both = set.intersection(*({j.name for j in r.features if j.carries} for r in reports))
    counts = ", ".join(
        f"{n} of {sum(j.told for j in r.features)} in {m.short}"
        for n, r, m in zip(carries, reports, months, strict=True)
    )
    parts = [
        "# What real months say",
        "Written by `examples/04_real_months.py`; the figures are of recorded months, not of the "
        "simulated exchange, but for the last section.",
        "## Labels",
        labels_table([*months, sessions]),
        "Surges that chain together are one event. Uniqueness is the mean over a label's life of "
        "one over the labels alive: its inverse says how many say the same thing, and labels times "
        "uniqueness how many independent ones there are.",
        "## Features by themselves, on bars",
        "\n".join(f"- **{m.title}**: {m.what}." for m in months),
        f"Horizon {JUDGED_S} s. IC: mean daily rank correlation with the label's outcome, in the "
        "direction (+ large values, − small ones) that the earlier part of the month decided. "
        "Lift: average precision over the base rate, from the end that spoke for surges in that "
        "earlier part. Brackets: bounds that hold with 95 % for "
        "*all* features of a month together, from whole days drawn with replacement. A feature "
        f"carries where either bound is above nothing: {counts}; in both {len(both)}. Bars alone "
        "were recorded: what needs a tape, a book or derivatives is not in this table.",
        "![Information of features](real-months.png)",
        features_table(months),
        "## Features of book and tape, in minutes",
        f"**Too short to conclude anything.** {sessions.what}. Blocks are of a minute, and a "
        "minute is no independent draw of a market: bounds are too narrow, whatever they say. In "
        f"{sessions.report.blocks if sessions.report else 0} minutes the price drifts one way, and "
        "whatever leans with or against it looks like knowledge. The "
        "table shows that the path from frames to this page works, and what to look at when days "
        "of book are recorded.",
        features_table([sessions]),
        "## Around planted surges (simulated exchange)",
        listed,
        f"{surges} planted surges of three pairs; values in standard deviations of times further "
        f"than {QUIET_S:g} s from any of them, bounds together for all features. *Stands out "
        "from*: the earliest moment from which on, up to the onset, the bounds leave out 0. This "
        "tells of the simulator, not of markets.",
        events_table(names, study, (-30.0, -15.0, -5.0, 0.0)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    default = os.environ.get("FORESHOCK_RECORDINGS", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--work", type=Path, default=Path("var/real-months"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--days", type=int, help="only so many days of each month")
    parser.add_argument("--simulated-s", type=int, default=7_200)
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    if not given.data.is_dir():
        raise DatasetError(f"{given.data} is no directory of recordings")
    months = [
        told_month(month, month_dataset(month, given.data, given.work, given.days))
        for month in MONTHS
    ]
    sessions = told_sessions(
        [[given.data / name for name in names] for names in SESSIONS], "sessions"
    )
    names, study, surges = planted_study(given.work, given.simulated_s)
    text = page(months, sessions, listed_events(given.data), names, study, surges)
    picture(given.out / "real-months.png", months)
    (given.out / "real-months.md").write_text(text)
    print(text.split("## Features of book", 1)[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
