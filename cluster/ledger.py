"""`foreshock ledger status|upgrade`: at which step the ledger's schema stands, and moving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer

if TYPE_CHECKING:
    from foreshock.settings import Config
    from foreshock.stores.ledger import Ledger


def open_ledger(config: Config, *, upgrade: bool) -> Ledger:
    """The configured ledger. Raises StoreError where it is away."""
    from foreshock.stores.ledger import Ledger

    return Ledger(config.ledger_place, upgrade=upgrade)


def ledger_status(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """Say where the ledger is, at which step its schema stands and what it holds."""

    def work() -> Answer:
        ledger = open_ledger(read_config(mode, config, set_).tree, upgrade=False)
        try:
            found = ledger.status()
        finally:
            ledger.close()

        def show(console: Console) -> None:
            step = found["revision"] or "none"
            state = "current" if found["current"] else f"this version wants {found['head']}"
            console.print(f"{found['database']} at {found['address']}", soft_wrap=True)
            console.print(f"step {step}: {state}", soft_wrap=True)
            for table, rows in found["rows"].items():
                console.print(f"{rows:>10,} {table}")

        return Answer(found, show, passed=found["current"])

    answer(work, json)


def ledger_upgrade(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="STEP", help="Another step than the newest; down as well."),
    ] = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Bring the ledger's schema to the newest step. Every start does so by itself; do it beforehand
    where that takes long, or go back a step before an older version is started."""

    def work() -> Answer:
        from foreshock.stores.migrations import HEAD

        ledger = open_ledger(read_config(mode, config, set_).tree, upgrade=False)
        try:
            before, after = ledger.migrate(to or HEAD)
        finally:
            ledger.close()
        found = {"before": before, "after": after}

        def show(console: Console) -> None:
            console.print(f"the ledger stood at step {before or 'none'}, now at {after}")

        return Answer(found, show)

    answer(work, json)
