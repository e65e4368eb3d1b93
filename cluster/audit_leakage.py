"""`foreshock audit leakage`: change the future, and see whether the past of a dataset moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console

from cluster.options import Files, Json, Set, read_config
from cluster.output import Answer, answer

if TYPE_CHECKING:
    from foreshock.market.instruments import Instrument
    from foreshock.market.rows import Rows
    from foreshock.replay.leakage import Audited, Build, Report
    from foreshock.settings import Config

LAST_S: Final = 400  # of the simulated market, in which futures are altered


def audit_leakage(
    recording: Annotated[
        Path | None,
        typer.Argument(help="A recording; by default a simulated market with a past."),
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, help="How many futures are altered.")] = 12,
    window: Annotated[
        int, typer.Option(min=1, help="Seconds of rows before each cut that are looked at.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Of the cuts and of the altered futures.")] = 7,
    json: Json = False,
    config: Files = None,
    given: Set = None,
) -> None:
    """Prove that no column of a dataset knows the future, and that the proof would notice.

    The whole path from rows to the matrix is run twice around every cut: as recorded, and with all
    that came later altered. A column that differs in any row up to the cut is named. Then ten leaks
    are planted, one at a time; each must be caught. Exit code 1: one of ours leaks, or a planted
    one was not caught."""

    def work() -> Answer:
        from foreshock.stores.recordings import open_recording

        tree = read_config("demo", config, given).tree
        if recording is not None:
            given_one = open_recording(recording)
            source = Source(given_one.instruments, list(given_one.rows()))
        else:
            source = _simulated(tree, seed)
        document = audited(source, tree, cuts, window, seed)
        if recording is None:  # there every input is, so that every column must have been seen
            document["alarms"] += [f"{name} had no value" for name in document["unseen"]]

        def show(console: Console) -> None:
            caught = document["planted"]
            console.print(
                f"{document['features']} columns, {document['rows']} rows looked at around "
                f"{document['cuts']} cuts: {len(document['alarms'])} alarms"
            )
            for alarm in document["alarms"]:
                console.print(f"  {alarm}", style="red")
            console.print(f"planted leaks caught: {caught['caught']} of {caught['of']}")
            for missed in caught["missed"]:
                console.print(f"  not caught: {missed}", style="red")

        passed = not document["alarms"] and not document["planted"]["missed"]
        return Answer(document, show, passed=passed)

    answer(work, json)


@dataclass(frozen=True, slots=True)
class Source:
    """A sequenced input. `last_s`: cuts lie in its last so many seconds."""

    instruments: Sequence[Instrument]
    batches: list[Rows]
    last_s: int | None = None


def audited(source: Source, tree: Config, cuts: int, window_s: int, seed: int) -> dict[str, Any]:
    """The document of the verb."""
    from foreshock.replay.leakage import Audited
    from foreshock.replay.planted import LEAKS, planted

    build = dataset_build(source.instruments, tree)
    horizon_s = max(tree.labels.horizons_s)

    def over(number: int) -> Audited:
        return Audited(
            source.instruments, source.batches, window_s=window_s, horizon_s=horizon_s,
            cuts=number, seed=seed, last_s=source.last_s,
        )  # fmt: skip

    report = over(cuts).audit(build)
    few = over(max(1, cuts // 4))  # a leak shows at any cut
    found: dict[str, Report] = {leak: few.audit(planted(build, leak)) for leak in LEAKS}
    missed = [leak for leak, said in found.items() if said.leaky != (leak,)]
    return {
        "features": report.columns,
        "rows": report.rows,
        "cuts": report.cuts,
        "differing_bits": sum(alarm.rows for alarm in report.alarms),
        "alarms": report.as_dict()["alarms"],
        "unseen": list(report.unseen),
        "planted": {"caught": len(LEAKS) - len(missed), "of": len(LEAKS), "missed": missed},
    }


def dataset_build(instruments: Sequence[Instrument], tree: Config) -> Build:
    """The path of `pipelines.build_features` from rows to the columns that are known at t0: the
    vector, the bill and the barriers."""
    from foreshock.costs.total import CostSettings
    from foreshock.replay.leakage import Matrix
    from pipelines.dataset_labels import label_steps
    from pipelines.dataset_play import play
    from pipelines.dataset_settings import DatasetSettings

    costs = CostSettings.for_market(instruments[0].market)
    settings = DatasetSettings(labels=tree.labels, costs=costs)
    known = ("bill_bps", "far_bps", "near_bps")
    names = (
        *settings.layout.names,
        *(f"{name}_{h}" for name in known for h in tree.labels.horizons_s),
    )

    def build(rows: Any, start: bytes | None) -> Matrix:
        played = play(instruments, [rows], start, settings)
        parts = [
            label_steps(played, s, instrument, settings).arrays
            for s, instrument in enumerate(instruments)
        ]
        return Matrix(
            np.concatenate([part["t0_ns"] for part in parts]),
            np.concatenate([np.full(len(p["t0_ns"]), s, np.int32) for s, p in enumerate(parts)]),
            np.concatenate([np.hstack([p["X"], *(p[name] for name in known)]) for p in parts]),
            names,
        )

    return build


def _simulated(tree: Config, seed: int) -> Source:
    """A simulated market with everything that a feature may look at, and its first hour over."""
    from cluster.audit import LONG_S, long_market

    horizon_s = max(tree.labels.horizons_s)
    session, rows = long_market(
        "binance-usdm", seed, LONG_S + LAST_S + horizon_s, lambda session: session
    )
    return Source(tuple(session.instruments), [batch for batch in rows if len(batch)], LAST_S)
