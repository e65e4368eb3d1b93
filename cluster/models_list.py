"""`foreshock models list`: the models in the registry, which of them speak, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer


def find_models(models_dir: Path) -> list[dict[str, Any]]:
    """One object for each version in the registry, by name and in the order they were registered;
    `aliases` says which are champion and challenger. Raises StoreError or ModelError where the
    registry or a card in it cannot be read."""
    from foreshock.models.artifact import load_card
    from foreshock.stores.registry import DirectoryRegistry

    registry, found = DirectoryRegistry(models_dir), []
    for name in registry.names():
        aliases = registry.aliases(name)
        for version in registry.versions(name):
            path = registry.find(name, version)
            assert path is not None
            card = load_card(path)
            found.append(
                {
                    "name": card.name,
                    "version": card.version,
                    "aliases": sorted(alias for alias, at in aliases.items() if at == version),
                    "domain": card.domain.model_dump(mode="json"),
                    "horizons_s": list(card.horizons_s),
                    "approved": list(card.approved),
                    "promoted": card.promoted,
                    "reason": card.reason,
                    "layout_fingerprint": card.layout_fingerprint,
                    "label_fingerprint": card.label_fingerprint,
                    "trials": card.trials,
                    "path": str(path),
                }
            )
    return found


def models_list(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """List the models in the registry: domain, horizons, which is champion, and why."""

    def work() -> Answer:
        models_dir = read_config(mode, config, set_).tree.paths.under("models")
        found = find_models(models_dir)

        def show(console: Console) -> None:
            if not found:
                console.print(f"no model lies below {models_dir} yet")
                return
            names = ("model", "version", "alias", "horizons", "promoted")
            table = Table(*names, box=None, pad_edge=False, collapse_padding=True)
            for column in table.columns:
                column.no_wrap, column.overflow = True, "fold"
            for entry in found:
                table.add_row(
                    entry["name"],
                    entry["version"],
                    ", ".join(entry["aliases"]),
                    ", ".join(f"{h} s" for h in entry["horizons_s"]),
                    "yes" if entry["promoted"] else "no",
                )
            console.print(table)
            for entry in found:
                console.print(f"{entry['version']}: {entry['reason']}", soft_wrap=True)

        return Answer(found, show)

    answer(work, json)
