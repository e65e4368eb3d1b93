"""`foreshock models list`: the models on disk, and which were promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer


def find_models(models_dir: Path) -> list[dict[str, Any]]:
    """One object for each artifact below `models_dir`, by name and version. Raises ModelError on a
    card that cannot be read; directories with temporary names are left out."""
    from foreshock.models.artifact import CARD, load_card

    found = []
    for path in sorted(models_dir.rglob(CARD)):
        home = path.parent
        if any(part.startswith(".") for part in home.relative_to(models_dir).parts):
            continue
        card = load_card(home)
        found.append(
            {
                "name": card.name,
                "version": card.version,
                "domain": card.domain.model_dump(mode="json"),
                "horizons_s": list(card.horizons_s),
                "approved": list(card.approved),
                "promoted": card.promoted,
                "reason": card.reason,
                "layout_fingerprint": card.layout_fingerprint,
                "trials": card.trials,
                "path": str(home),
            }
        )
    return sorted(found, key=lambda entry: (entry["name"], entry["version"]))


def models_list(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """List the models on disk with their domain and whether they were promoted."""

    def work() -> Answer:
        models_dir = read_config(mode, config, set_).tree.paths.under("models")
        found = find_models(models_dir)

        def show(console: Console) -> None:
            if not found:
                console.print(f"no model lies below {models_dir} yet")
                return
            table = Table("model", "version", "domain", "horizons", "promoted", "why", box=None)
            for entry in found:
                domain = "/".join(entry["domain"].values())
                horizons = ", ".join(f"{h} s" for h in entry["horizons_s"])
                promoted = "yes" if entry["promoted"] else "no"
                table.add_row(
                    entry["name"], entry["version"], domain, horizons, promoted, entry["reason"]
                )
            console.print(table)

        return Answer(found, show)

    answer(work, json)
