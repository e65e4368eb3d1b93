"""`foreshock reconcile`: replay a recorded session and say at which stage it differs first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from cluster.replay import Pace, replayed, sentence

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def reconcile(
    session: Annotated[Path, typer.Argument(help="A session of ours: a directory.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Who scores: champion, none or an artifact directory; else whoever did.",
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics",
            metavar="FILE",
            help="Where the divergence is left for Prometheus; else below paths.var_dir.",
        ),
    ] = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Replay a live session from its raw frames on and compare it stage by stage.

    Frames, rows, boundaries, books, vectors, bill inputs, probabilities and verdicts are compared
    in bits. Exit code 1 says that something differs; the first stage is named with its row, symbol
    and part. What was recorded by another version is compared as far as it can be, in words."""

    def work() -> Answer:
        tree = read_config(mode or "replay", config, given).tree
        found, document = replayed(session, tree, model, Pace(None), remake=True)
        target = metrics or tree.paths.under("metrics", "reconcile.prom")
        write_metrics(document, target)
        document["metrics"] = str(target)

        def show(console: Console) -> None:
            for place, report in found:
                console.print(f"{place}: {sentence(report)}", soft_wrap=True)

        return Answer(document, show, passed=document["same"] is not False)

    answer(work, json)


def write_metrics(document: dict[str, Any], path: Path) -> None:
    """Leave the divergence as a text file for Prometheus' textfile collector, whole or not at
    all."""
    from prometheus_client import write_to_textfile

    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), divergence(document, time.time()))


def divergence(document: dict[str, Any], now_s: float) -> CollectorRegistry:
    """The gauges of a document of `reconcile`."""
    from prometheus_client import CollectorRegistry, Gauge

    from foreshock.replay.compare import STAGES

    registry = CollectorRegistry()
    by_stage = Gauge(
        "foreshock_replay_divergence",
        "What differs between a live session and its replay, by stage; 0 is what is promised.",
        ["stage"],
        registry=registry,
    )
    compared = Gauge(
        "foreshock_replay_compared",
        "What the last reconciliation compared, by stage.",
        ["stage"],
        registry=registry,
    )
    for stage in STAGES:
        by_stage.labels(stage).set(document["differing"].get(stage, 0))
        compared.labels(stage).set(document["compared"].get(stage, 0))
    when = Gauge(
        "foreshock_replay_reconciled_timestamp_seconds",
        "When a session was last reconciled.",
        registry=registry,
    )
    when.set(now_s)
    return registry
