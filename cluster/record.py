"""`foreshock record`: watch without judging, and keep every row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from cluster.demo import seconds
from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from cluster.replay import recordings_in
from cluster.session import polite_end, sayer, status_line, stay, watched
from foreshock.errors import ConfigError

STATUS_EVERY_S: Final = 5.0


def record(
    run_for: Annotated[
        str | None, typer.Option("--for", help="End so long after the first row: 60s, 5m, 2h.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new or empty directory.")
    ] = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Record the venue, or in mode demo the simulated exchange, until Ctrl-C or `--for`."""

    def work() -> Answer:
        limit_s = None if run_for is None else seconds(run_for)
        tree = read_config(mode, config, given).tree
        exchange, domain = watched(tree)
        from cluster.system import System, new_session_dir

        directory = new_session_dir(tree) if out is None else new_directory(out)
        say = sayer()
        say(f"recording {domain} to {directory}")
        system = System(tree, domain, exchange=exchange, judge=False, record_to=directory, say=say)
        found: dict[str, Any] = {}
        with polite_end(), system:
            found = stay(system, limit_s, STATUS_EVERY_S, lambda now: say(status_line(now)))
        document = {
            "directory": str(directory),
            "domain": str(domain),
            "seconds": found["seconds"],
            "symbols": found["symbols"],
            "frames": found["frames"],
            "rows": rows_on_disk(directory),
            "journal": rows_on_disk(directory, "journal"),
            "shed_rows": found["shed_rows"],
            "recordings": [str(place) for place in recordings_in(directory)],
            "problems": found["problems"],
        }

        def show(console: Console) -> None:
            console.print(
                f"{document['frames']} frames of {document['symbols']} symbols in "
                f"{document['seconds']} s, {document['rows']} rows and {document['journal']} raw"
                f" inputs: {directory}",
                soft_wrap=True,
            )

        return Answer(document, show)

    answer(work, json)


def new_directory(directory: Path) -> Path:
    """`directory`, absolute. Raises ConfigError where something lies in it: sessions do not mix."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"--out {directory} exists already and is no empty directory")
    return directory.absolute()


def rows_on_disk(directory: Path, part: str = "rows") -> int:
    """How many rows, or entries of the journal, the recordings below `directory` hold. Raises
    RecordingError without any recording."""
    from pyarrow.parquet import read_metadata

    from foreshock.stores.files import finished

    return sum(
        read_metadata(file).num_rows
        for place in recordings_in(directory)
        for file in finished(place / part, "*.parquet")
    )
