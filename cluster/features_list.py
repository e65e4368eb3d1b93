"""`foreshock features list`: every feature with its formula, window and source."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, Set, read_config
from cluster.output import Answer, answer


def features_list(json: Json = False, config: Files = None, given: Set = None) -> None:
    """List the features of a vector, column by column, under your settings."""

    def work() -> Answer:
        from foreshock.features.catalog import layout

        found = layout(read_config("demo", config, given).tree.features)
        document = [asdict(spec) for spec in found]

        def show(console: Console) -> None:
            table = Table("feature", "family", "needs", "warm after", "formula", box=None)
            for spec in found:
                table.add_row(
                    spec.name, spec.family, spec.needs, f"{spec.warmup_s} s", spec.formula
                )
            console.print(table)
            console.print(
                f"{len(found)} features of tier {found.tier}, fingerprint {found.fingerprint}"
            )

        return Answer(document, show)

    answer(work, json)
