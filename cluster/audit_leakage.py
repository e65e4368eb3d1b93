"""`foreshock audit leakage`: change the future, and see whether the past of a dataset moves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from cluster.options import Files, Json, Set, read_config
from cluster.output import Answer, answer

if TYPE_CHECKING:
    from foreshock.replay.leakage import Audited, Build, Report
    from foreshock.settings import Config
    from foreshock.stores.recordings import Recording

SIMULATED_SYMBOLS, SIMULATED_S = 3, 420


def audit_leakage(
    recording: Annotated[
        Path | None,
        typer.Argument(help="A recording; by default one is made of the simulated exchange."),
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
            document = audited(open_recording(recording), tree, cuts, window, seed)
        else:
            with tempfile.TemporaryDirectory(prefix="foreshock-audit-") as scratch:
                made = _simulated(Path(scratch) / "session", tree)
                document = audited(made, tree, cuts, window, seed)

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


def audited(
    recording: Recording, tree: Config, cuts: int, window_s: int, seed: int
) -> dict[str, Any]:
    """The document of the verb."""
    from foreshock.replay.leakage import Audited
    from foreshock.replay.planted import LEAKS, planted

    build = dataset_build(recording, tree)
    horizon_s = max(tree.labels.horizons_s)

    def over(number: int) -> Audited:
        return Audited(
            recording.instruments, recording.rows(), window_s=window_s, horizon_s=horizon_s,
            cuts=number, seed=seed,
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
        "planted": {"caught": len(LEAKS) - len(missed), "of": len(LEAKS), "missed": missed},
    }


def dataset_build(recording: Recording, tree: Config) -> Build:
    """The path of `pipelines.build_features` from rows to the columns that are known at t0: the
    vector, the bill and the barriers."""
    from foreshock.costs.total import CostSettings
    from foreshock.replay.leakage import Matrix
    from pipelines.dataset_labels import label_steps
    from pipelines.dataset_play import play
    from pipelines.dataset_settings import DatasetSettings

    instruments = recording.instruments
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


def _simulated(directory: Path, tree: Config) -> Recording:
    from foreshock.simulation.settings import SimulationSettings
    from foreshock.stores.recordings import open_recording
    from pipelines.backfill_history import backfill_simulation

    changes = {"symbols": SIMULATED_SYMBOLS}
    settings = SimulationSettings.model_validate({**tree.simulation.model_dump(), **changes})
    horizon_s = max(tree.labels.horizons_s)
    backfill_simulation(directory, settings, SIMULATED_S + horizon_s)
    return open_recording(directory)
