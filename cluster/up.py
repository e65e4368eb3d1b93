"""`foreshock up`: the whole system in the foreground, until Ctrl-C or `--for`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.console import Console

from cluster.demo import seconds
from cluster.options import Files, Json, LiveOption, ModeOption, Set, mode_of, read_config
from cluster.output import Answer, answer
from cluster.session import polite_end, sayer, status_line, stay, watched

STATUS_EVERY_S: Final = 5.0


def up(
    run_for: Annotated[
        str | None, typer.Option("--for", help="End so long after the first row: 60s, 5m, 2h.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep a recording of the session.")] = False,
    json: Json = False,
    mode: ModeOption = None,
    live: LiveOption = False,
    config: Files = None,
    given: Set = None,
) -> None:
    """Run exchange or venue, watchers, scorer, gate and HTTP API in the foreground."""

    def work() -> Answer:
        limit_s = None if run_for is None else seconds(run_for)
        tree = read_config(mode_of(mode, live), config, given).tree
        exchange, domain = watched(tree)
        from cluster.first_model import has_model
        from cluster.system import System, new_session_dir

        say = sayer()
        if not has_model(tree, domain):
            say(f"no model of {domain} yet, so every verdict refuses; `foreshock train` makes one")
        directory = new_session_dir(tree) if keep else None
        system = System(tree, domain, exchange=exchange, record_to=directory, say=say)
        found: dict[str, Any] = {}
        with polite_end(), system:
            for name, url in system.urls.items():
                say(f"{name:14s} {url}")
            found = stay(system, limit_s, STATUS_EVERY_S, lambda now: say(status_line(now)))
        document = {
            "domain": str(domain),
            "urls": dict(system.urls),
            "directory": None if directory is None else str(directory),
            **found,
        }

        def show(console: Console) -> None:
            line = f"ran {document['seconds']} s: {status_line(found)}"
            console.print(line, markup=False, soft_wrap=True)

        return Answer(document, show, passed=bool(found["rows"]))

    answer(work, json)
