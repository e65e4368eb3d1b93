"""`foreshock data list`: the recordings and datasets below var_dir."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer

# Directory below var_dir → what its entries are called.
SHELVES: Final = {"recordings": "recording", "datasets": "dataset", "history": "history"}


def _entry(kind: str, path: Path) -> dict[str, Any]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    newest = max((file.stat().st_mtime for file in files), default=path.stat().st_mtime)
    return {
        "name": path.name,
        "kind": kind,
        "path": str(path),
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "modified": datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"),
    }


def find_data(var_dir: Path) -> list[dict[str, Any]]:
    """One object for each entry of each shelf, by kind and name; temporary names are left out."""
    return [
        _entry(kind, path)
        for shelf, kind in SHELVES.items()
        if (var_dir / shelf).is_dir()
        for path in sorted((var_dir / shelf).iterdir())
        if not path.name.startswith((".", "_"))
    ]


def data_list(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """List the recordings and datasets that training and replay can read."""

    def work() -> Answer:
        var_dir = read_config(mode, config, set_).tree.paths.under()
        found = find_data(var_dir)

        def show(console: Console) -> None:
            if not found:
                console.print(f"nothing is recorded below {var_dir} yet")
                return
            table = Table("name", "kind", "files", "MB", "modified", box=None)
            for entry in found:
                size = f"{entry['bytes'] / 1e6:.1f}"
                table.add_row(
                    entry["name"], entry["kind"], str(entry["files"]), size, entry["modified"]
                )
            console.print(table)

        return Answer(found, show)

    answer(work, json)
