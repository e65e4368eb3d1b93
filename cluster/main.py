"""The `foreshock` command: a table of verbs, one file each.

A verb's file imports Ray, Serve and other heavy parts inside its function, so that `--help` and
`config show` answer at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from cluster.audit import audit_parity
from cluster.audit_faults import audit_faults
from cluster.audit_leakage import audit_leakage
from cluster.config_show import config_show
from cluster.data_import import data_import
from cluster.data_list import data_list
from cluster.demo import demo
from cluster.doctor import doctor
from cluster.download import download
from cluster.features_list import features_list
from cluster.features_look import features_plot, features_show
from cluster.ledger import ledger_status, ledger_upgrade
from cluster.models import (
    models_compare,
    models_list,
    models_promote,
    models_rollback,
    models_show,
)
from cluster.reconcile import reconcile
from cluster.record import record
from cluster.replay import replay
from cluster.score import score
from cluster.status import status
from cluster.store import store_compact, store_load, store_query, store_retain, store_status
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
    "reconcile": reconcile,
    "download": download,
    "train": train,
    "score": score,
    "doctor": doctor,
    "warm": warm,
    "audit parity": audit_parity,
    "audit leakage": audit_leakage,
    "audit faults": audit_faults,
    "config show": config_show,
    "features list": features_list,
    "features show": features_show,
    "features plot": features_plot,
    "data list": data_list,
    "data import": data_import,
    "ledger status": ledger_status,
    "ledger upgrade": ledger_upgrade,
    "models list": models_list,
    "models show": models_show,
    "models promote": models_promote,
    "models rollback": models_rollback,
    "models compare": models_compare,
    "store status": store_status,
    "store compact": store_compact,
    "store retain": store_retain,
    "store load": store_load,
    "store query": store_query,
}
GROUPS: Final = {
    "audit": "Promises, checked by whoever asks.",
    "config": "Settings and where they come from.",
    "features": "The features that vectors are made of.",
    "data": "Recordings, datasets and history at hand.",
    "ledger": "The database of what was said.",
    "models": "Models in the registry: which there are, which speaks, and since when.",
    "store": "The cold store: what lasts.",
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
