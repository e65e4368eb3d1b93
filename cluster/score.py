"""`foreshock score`: a model's scores of any dataset in one file, for whoever wants to judge it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from cluster.session import sayer

if TYPE_CHECKING:
    from foreshock.settings import Config


def score(
    dataset: Annotated[
        Path, typer.Argument(help="A dataset; or a recording, raw frames, bars, a tape.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The Parquet file to write.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Registry name, version or artifact directory; else the champions."
        ),
    ] = None,
    market: Annotated[
        str | None, typer.Option("--market", help="Of bars or a tape that do not say theirs.")
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="Of bars or a tape, only these.")
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Raw data: a boundary in so many seconds.")
    ] = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Write (symbol, boundary, horizon, score, probability) of every row of a dataset."""

    def work() -> Answer:
        tree = read_config(mode, config, given).tree
        with tempfile.TemporaryDirectory(prefix="foreshock-score-") as place:
            document = scored(tree, dataset, out, model, market, symbol, every, Path(place))

        def show(console: Console) -> None:
            console.print(words(document), markup=False, soft_wrap=True)

        return Answer(document, show)

    answer(work, json)


def scored(
    tree: Config,
    dataset: Path,
    out: Path,
    model: str | None,
    market: str | None,
    symbols: list[str] | None,
    every_s: int | None,
    work: Path,
) -> dict[str, Any]:
    """Score a dataset, or what one can be made of; what `--json` prints."""
    from cluster.first_model import registry_of
    from foreshock.models.artifact import load_card
    from foreshock.models.base import Domain
    from pipelines.datasets import read_manifest
    from pipelines.score import is_dataset, models_for, score_dataset
    from pipelines.score_raw import build_for, source_of

    directory, registry = dataset, registry_of(tree)
    if is_dataset(dataset):
        domain = Domain.model_validate(read_manifest(dataset)["manifest"]["domain"])
        models = models_for(registry, model, domain)
    else:
        say = sayer()
        say(f"{dataset} is no dataset of ours: making one")
        source = source_of(dataset, work, tree, market, symbols)
        models = models_for(registry, model, source.domain)
        cards = [load_card(path) for path in models.values()]
        for card in cards:
            card.domain.require(source.domain)
        directory = build_for(source, cards, work / "dataset", tree, every_s)
    return {"dataset": str(dataset), **score_dataset(directory, models, out).as_dict()}


def words(told: dict[str, Any]) -> str:
    """The same in a few lines."""
    lines = [f"{told['rows']} scores on {told['domain']}: {told['out']}"]
    for each in told["models"]:
        n = told["boundaries"].get(each["version"], 0)
        lines.append(f"  {each['name']} {each['version']} ({each['scope']}): {n} boundaries")
        if not each["same_labels"]:
            lines.append("    made for another surge definition than this dataset's labels")
    notes = {
        "cold": "lack a required feature: null",
        "seen": "are from before the end of the model's training: they prove nothing",
        "expired": "are so late that the gate would hold the model to be expired",
    }
    lines += [f"  {told[name]} boundaries {text}" for name, text in notes.items() if told[name]]
    if told["unscored"]:
        lines.append(f"  no model speaks for {', '.join(told['unscored'])}")
    return "\n".join(lines)
