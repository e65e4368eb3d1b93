"""The `foreshock` command: a table of verbs, one file each.

A verb's file imports Ray, Serve and other heavy parts inside its function, so that `--help` and
`config show` answer at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from cluster.config_show import config_show
from cluster.data_list import data_list
from cluster.demo import demo
from cluster.doctor import doctor
from cluster.features_list import features_list
from cluster.models_list import models_list
from cluster.record import record
from cluster.replay import replay
from cluster.status import status
from cluster.train import train
from cluster.up import up
from cluster.warm import warm

# "group verb" or "verb" → the function behind it.
VERBS: Final[dict[str, Callable[..., Any]]] = {
    "demo": demo,
    "up": up,
    "status": status,
    "record": record,
    "replay": replay,
    "train": train,
    "doctor": doctor,
    "warm": warm,
    "config show": config_show,
    "features list": features_list,
    "data list": data_list,
    "models list": models_list,
}
GROUPS: Final = {
    "config": "Settings and where they come from.",
    "features": "The features that vectors are made of.",
    "data": "Recordings and datasets at hand.",
    "models": "Models in the registry.",
}


def build_app() -> typer.Typer:
    """The Typer application of every verb in the table."""
    app = typer.Typer(
        name="foreshock",
        help="Hears the tremor before a price surge.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    groups = {
        name: typer.Typer(name=name, help=text, no_args_is_help=True)
        for name, text in GROUPS.items()
    }
    for words, function in VERBS.items():
        group, _, verb = words.rpartition(" ")
        (groups[group] if group else app).command(name=verb)(function)
    for group_app in groups.values():
        app.add_typer(group_app)
    return app


def main() -> None:
    """Entry point of the `foreshock` script; exits with the verb's code."""
    build_app()()
