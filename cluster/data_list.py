"""`foreshock data list`: recordings, datasets and history at hand, with every gap and its cause."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from foreshock.market.clock import SECOND_NS

# Directory below var_dir → what its entries are called. History holds recordings, too.
SHELVES: Final = {"recordings": "recording", "datasets": "dataset", "history": "recording"}
SHOWN_GAPS: Final = 12


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
        **(_recorded(path) if kind == "recording" and path.is_dir() else {}),
    }


def _recorded(path: Path) -> dict[str, Any]:
    """What the manifests and the files' own statistics tell of a session, and its gaps, which are
    in its rows."""
    from pyarrow.parquet import read_metadata

    from foreshock.errors import RecordingError
    from foreshock.stores.gaps import gaps_of

    gaps: list[dict[str, Any]] = []
    markets: dict[str, None] = {}
    symbols: dict[str, None] = {}
    arrivals: dict[str, None] = {}
    rows, first_ns, last_ns = 0, 0, 0
    for manifest in sorted(path.rglob("manifest.json")):
        try:
            told = orjson.loads(manifest.read_bytes())
            for instrument in told["instruments"]:
                markets.setdefault(instrument["market"])
                symbols.setdefault(instrument["symbol"])
            arrivals.setdefault(told["meta"].get("arrival", "recorded"))
            names = [instrument["symbol"] for instrument in told["instruments"]]
        except (ValueError, KeyError, TypeError):
            continue  # of something else, or torn: the session's own readers name it
        with contextlib.suppress(RecordingError):  # reconcile names a file that cannot be read
            gaps += [
                {
                    "symbol": gap.symbol,
                    "family": gap.family,
                    "from": _iso(gap.from_ns),
                    "to": None if gap.until_ns is None else _iso(gap.until_ns),
                    "cause": gap.reason,
                }
                for gap in gaps_of(manifest.parent, names)
            ]
        for file in sorted((manifest.parent / "rows").glob("[!.]*.parquet")):
            try:
                metadata = read_metadata(file)
            except (OSError, ValueError):
                continue
            rows += metadata.num_rows
            for group in range(metadata.num_row_groups):
                stamps = metadata.row_group(group).column(0).statistics
                if stamps is not None and stamps.has_min_max:
                    first_ns = min(first_ns or stamps.min, stamps.min)
                    last_ns = max(last_ns, stamps.max)
    if not symbols:
        return {}
    return {
        "market": "+".join(markets),
        "symbols": list(symbols),
        "span": [_iso(first_ns), _iso(last_ns)] if rows else None,
        "rows": rows,
        "gaps": gaps,
        "arrival": "+".join(arrivals),
        "source": "recording",
    }


def _iso(stamp_ns: int) -> str:
    moment = datetime.fromtimestamp(stamp_ns // SECOND_NS, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def find_data(var_dir: Path) -> list[dict[str, Any]]:
    """One object for each recording, dataset and series of history, by kind and name; temporary
    names are left out."""
    from foreshock.market.instruments import MARKETS
    from foreshock.stores.history import History
    from foreshock.stores.history_list import as_object, list_history

    history = History(var_dir / "history")
    listed = list_history(history)
    of_series = {entry.series.market for entry in listed} | set(MARKETS)
    kept = [
        _entry(kind, path)
        for shelf, kind in SHELVES.items()
        if (var_dir / shelf).is_dir()
        for path in sorted((var_dir / shelf).iterdir())
        if not path.name.startswith((".", "_"))
        and not (shelf == "history" and path.name in of_series)
    ]
    past = [
        {"name": e.series.folder, **as_object(e), "path": str(history.folder(e.series))}
        for e in listed
    ]
    return [*kept, *past]


def data_list(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """List recordings, datasets and history: spans, rows, gaps and how arrival is known."""

    def work() -> Answer:
        var_dir = read_config(mode, config, set_).tree.paths.under()
        found = find_data(var_dir)

        def show(console: Console) -> None:
            if not found:
                console.print(f"nothing is recorded below {var_dir} yet")
                return
            kept = [entry for entry in found if "files" in entry]
            past = [entry for entry in found if "files" not in entry]
            if kept:
                console.print(_kept_table(kept))
            if past:
                console.print(_past_table(past))
                _print_gaps(console, past)

        return Answer(found, show)

    answer(work, json)


def _kept_table(entries: list[dict[str, Any]]) -> Table:
    table = Table("name", "kind", "arrival", "rows", "gaps", "files", "MB", "modified", box=None)
    for entry in entries:
        table.add_row(
            entry["name"],
            entry["kind"],
            entry.get("arrival", ""),
            str(entry.get("rows", "")),
            str(len(entry["gaps"])) if "gaps" in entry else "",
            str(entry["files"]),
            f"{entry['bytes'] / 1e6:.1f}",
            entry["modified"],
        )
    return table


def _past_table(entries: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    table.add_column("market")
    table.add_column("series", no_wrap=True)
    for name in ("from", "to", "rows", "gaps", "arrival", "source"):
        table.add_column(name)
    for entry in entries:
        first, last = entry["span"] or ["", ""]
        kind = f"{entry['kind']}-{entry['interval']}" if entry["interval"] else entry["kind"]
        table.add_row(
            entry["market"],
            f"{kind} {entry['symbol']}",
            first[:10],
            last[:10],
            str(entry["rows"]) if entry["problem"] is None else entry["problem"],
            str(len(entry["gaps"])),
            entry["arrival"],
            entry["source"] or "",
        )
    return table


def _print_gaps(console: Console, entries: list[dict[str, Any]]) -> None:
    gaps = [(entry, gap) for entry in entries for gap in entry["gaps"]]
    for entry, gap in gaps[:SHOWN_GAPS]:
        lacking = f", {gap['rows']} rows" if gap["rows"] else ""
        console.print(
            f"  {entry['symbol']} {entry['kind']}: {gap['from']} … {gap['to']}: "
            f"{gap['cause']}{lacking}",
            style="dim",
            markup=False,
            soft_wrap=True,
        )
    if len(gaps) > SHOWN_GAPS:
        console.print(f"  … and {len(gaps) - SHOWN_GAPS} gaps more: --json lists all", style="dim")
