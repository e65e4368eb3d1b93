"""`foreshock config show`: every setting, its value and where it came from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer


def config_show(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """Print every setting with its value and the place it came from; secrets are masked."""

    def work() -> Answer:
        from foreshock.config import fingerprint, settings

        loaded = read_config(mode, config, set_)
        lines = settings(loaded)
        mark = fingerprint(loaded.tree)
        document = {
            "fingerprint": mark,
            "mode": loaded.tree.mode,
            "settings": {
                line.key: {
                    "value": line.value,
                    "source": line.source,
                    "description": line.description,
                }
                for line in lines
            },
        }

        def show(console: Console) -> None:
            table = Table("setting", "value", "from", box=None)
            for line in lines:
                table.add_row(line.key, str(line.value), line.source)
            console.print(table)
            console.print(f"fingerprint {mark}")

        return Answer(document, show)

    answer(work, json)
