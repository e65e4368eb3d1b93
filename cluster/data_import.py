"""`foreshock data import`: take what others recorded into the history, and say what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer


def data_import(
    paths: Annotated[list[Path], typer.Argument(help="Files, or directories of them.")],
    market: Annotated[
        str | None, typer.Option("--market", help="Where files do not say: binance-usdm …")
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Where files do not say.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, and keep nothing.")] = False,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Import recorded data of others: every file is judged, and named where it is refused."""

    def work() -> Answer:
        from foreshock.errors import ForeshockError
        from foreshock.stores.history import History
        from foreshock.stores.importers import import_file

        tree = read_config(mode, config, given).tree
        history = None if dry_run else History(tree.paths.under("history"))
        imported: list[dict[str, Any]] = []
        refused: list[dict[str, str]] = []
        for path in _files(paths):
            try:
                found = import_file(history, path, market, symbol)
                imported += [entry.as_dict() for entry in found]
            except ForeshockError as error:
                refused.append({"file": str(path), "message": str(error)})
        document = {
            "directory": None if history is None else str(history.directory),
            "rows": sum(entry["rows"] for entry in imported),
            "imported": imported,
            "refused": refused,
        }

        def show(console: Console) -> None:
            names = ("file", "series", "rows", "gaps", "missing ids", "faults", "known")
            table = Table(*names, box=None)
            for entry in imported:
                faults = ("duplicates", "conflicts", "out_of_order", "bad_rows")
                table.add_row(
                    entry["file"],
                    f"{entry['market']} {entry['kind']} {entry['interval']} {entry['symbol']}",
                    str(entry["rows"]),
                    str(len(entry["gaps"])),
                    str(len(entry["missing_ids"])),
                    ", ".join(f"{entry[name]} {name}" for name in faults if entry[name]),
                    "; ".join(entry["known"]),
                )
            console.print(table)
            for entry in refused:
                console.print(f"refused: {entry['message']}", markup=False, soft_wrap=True)

        return Answer(document, show, passed=bool(imported) and not refused)

    answer(work, json)


def _files(paths: list[Path]) -> list[Path]:
    return [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
