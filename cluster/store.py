"""`foreshock store status|compact|retain|load|query`: the cold store, looked after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from foreshock.errors import ConfigError

if TYPE_CHECKING:
    from foreshock.settings import Config
    from foreshock.stores.cold import ColdStore

SHOWN_ROWS = 50
TableOption = Annotated[
    str | None, typer.Option("--table", help="rows, trades, bars, metrics, vectors or labels.")
]


def _open(config: Config) -> ColdStore:
    from foreshock.stores.cold import open_cold
    from foreshock.stores.cold_settings import cold_directory

    stores = config.stores
    directory = cold_directory(config.paths.under())
    found = open_cold(stores.where(), directory, stores.memory_limit)
    if found is None:
        raise ConfigError("stores.cold is off: there is no cold store to look after")
    return found


def _today() -> str:
    from foreshock.stores.schema import day_of

    return day_of(time.time_ns())


def _check(table: str | None) -> None:
    from foreshock.errors import StoreError
    from foreshock.stores.schema import table_of

    if table is not None:
        try:
            table_of(table)
        except StoreError as error:
            raise ConfigError(str(error)) from error


def store_status(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """What each table takes by day, and what waits on disk for a store that was down."""

    def work() -> Answer:
        from foreshock.stores.spill_reader import waiting

        tree = read_config(mode, config, set_).tree
        store = _open(tree)
        spilled = waiting(tree.paths.under("spill"))
        usage = [use.as_dict() for use in store.usage()]
        store.close()
        document = {
            "state": "degraded" if spilled["batches"] else "ok",
            "rows": sum(use["rows"] for use in usage),
            "bytes": sum(use["bytes"] for use in usage),
            "budget_bytes": tree.stores.disk_budget_bytes,
            "waiting": spilled,
            "days": usage,
        }

        def show(console: Console) -> None:
            table = Table("table", "day", "rows", "MB", "parts", "compacted", box=None)
            for use in usage:
                size, done = f"{use['bytes'] / 1e6:.1f}", "yes" if use["compacted"] else ""
                cells = (use["table"], use["day"], f"{use['rows']:,}", size, str(use["parts"]))
                table.add_row(*cells, done)
            console.print(table if usage else "the cold store is empty")
            if spilled["batches"]:
                console.print(f"degraded: {spilled['batches']} batches wait for the store")

        return Answer(document, show)

    answer(work, json)


def store_compact(
    table: TableOption = None,
    all_days: Annotated[bool, typer.Option("--all", help="Today too.")] = False,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Make one sorted part of every day that is over; readers and writers go on meanwhile."""

    def work() -> Answer:
        _check(table)
        store = _open(read_config(mode, config, set_).tree)
        today = _today()
        done = [
            {"table": use.table, "day": use.day, "parts": use.parts, "bytes": use.bytes}
            for use in store.usage(table)
            if (all_days or use.day < today) and store.compact(use.table, use.day)
        ]
        store.close()

        def show(console: Console) -> None:
            for each in done:
                console.print(f"{each['table']} {each['day']}: {each['parts']} parts became one")
            if not done:
                console.print("nothing to compact")

        return Answer({"compacted": done}, show)

    answer(work, json)


def store_retain(
    before: Annotated[
        str | None, typer.Option("--before", metavar="DAY", help="Drop all days before this one.")
    ] = None,
    table: TableOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Drop what stores.keep_days and stores.disk_budget_bytes let go, or all days before DAY."""

    def work() -> Answer:
        from foreshock.errors import StoreError
        from foreshock.stores.retention import Dropped, FrameShelf, keep_within
        from foreshock.stores.schema import day_start_ns

        _check(table)
        tree = read_config(mode, config, set_).tree
        stores, store = tree.stores, _open(tree)
        if before is not None:
            try:
                day_start_ns(before)
            except StoreError as error:
                raise ConfigError(str(error)) from error
            gone = [
                Dropped(use.table, use.day, use.bytes, "before")
                for use in store.usage(table)
                if use.day < before
            ]
            for each in gone if not dry_run else ():
                store.drop(each.table, each.day)
        elif table is not None:
            raise ConfigError("--table goes with --before: what is configured is for all tables")
        else:
            gone = keep_within(
                store,
                FrameShelf(tree.paths.under("recordings")),
                _today(),
                keep_days=stores.keep_days.model_dump(),
                budget_bytes=stores.disk_budget_bytes,
                drop_first=stores.drop_first,
                dry_run=dry_run,
            )
        store.close()
        dropped = [each.as_dict() for each in gone]
        document = {
            "dry_run": dry_run,
            "dropped": dropped,
            "bytes": sum(each["bytes"] for each in dropped),
        }

        def show(console: Console) -> None:
            verb = "would go" if dry_run else "dropped"
            for each in gone:
                console.print(f"{each.table} {each.day} {verb} ({each.reason})")
            if not gone:
                console.print("nothing to drop")

        return Answer(document, show)

    answer(work, json)


def store_load(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings, as `record` leaves them.")],
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Bring recordings into the cold store; what is there already is not added again."""

    def work() -> Answer:
        from foreshock.stores.cold_load import load_recording

        tree = read_config(mode, config, set_).tree
        stores, store = tree.stores, _open(tree)
        loaded = []
        for path in recordings:
            rows = load_recording(
                store, path, tables=stores.tables, hold_rows=stores.hold_rows, hold_s=stores.hold_s
            )
            loaded.append({"recording": str(path), "rows": rows})
        store.close()

        def show(console: Console) -> None:
            for each in loaded:
                console.print(f"{each['recording']}: {each['rows']:,} rows")

        return Answer({"loaded": loaded}, show)

    answer(work, json)


def store_query(
    sql: Annotated[str, typer.Argument(help="A statement in the store's own SQL.")],
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Ask the cold store in SQL: DuckDB's, or ClickHouse's where that is configured."""

    def work() -> Answer:
        store = _open(read_config(mode, config, set_).tree)
        found = store.query(sql)
        store.close()
        rows: list[dict[str, Any]] = found.to_pylist()

        def show(console: Console) -> None:
            table = Table(*found.column_names, box=None)
            for row in rows[:SHOWN_ROWS]:
                table.add_row(*map(str, row.values()))
            console.print(table)
            if len(rows) > SHOWN_ROWS:
                console.print(f"… and {len(rows) - SHOWN_ROWS} more; --json prints all")

        return Answer({"columns": found.column_names, "rows": rows}, show)

    answer(work, json)
