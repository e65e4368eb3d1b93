"""Options that several verbs share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.errors import ConfigError

if TYPE_CHECKING:
    from foreshock.config import Loaded
    from foreshock.settings import Config

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, dotted; may be given often."),
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="FILE", help="A YAML file laid over the mode's own."),
]
ModeOption = Annotated[
    str | None, typer.Option("--mode", help="demo, live or replay; chooses the files read.")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Watch the venue's public endpoints: --mode live.")
]


def mode_of(mode: str | None, live: bool) -> str | None:
    """What `--mode` and `--live` ask for together. Raises ConfigError where they differ."""
    if live and mode not in (None, "live"):
        raise ConfigError(f"--live and --mode {mode} contradict each other")
    return "live" if live else mode


def read_config(
    mode: str | None = None, files: list[Path] | None = None, given: list[str] | None = None
) -> Loaded[Config]:
    """The configuration that the shared options ask for. Raises ConfigError."""
    from foreshock.settings import load  # the rooms behind it take a second

    overrides: dict[str, Any] = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r} is not KEY=VALUE")
        overrides[key.strip()] = value
    if mode is not None:
        overrides["mode"] = mode
    return load(overrides, files or [])
