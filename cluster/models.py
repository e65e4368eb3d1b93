"""`foreshock models list|show|promote|rollback|compare`: the models in the registry, which of them
speak, and who let them."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.models_find import differences, figures, find_models, registry_of, resolve
from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer

if TYPE_CHECKING:
    from foreshock.settings import Config
    from foreshock.stores.registry import DirectoryRegistry
    from foreshock.stores.registry_history import Change

_LOG = logging.getLogger(__name__)
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A version, its digest, a name (its champion), or NAME=ALIAS."
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]
Actor = Annotated[
    str | None, typer.Option("--actor", help="Who does it; else the user who is logged in.")
]


def models_list(
    json: Json = False, mode: ModeOption = None, config: Files = None, set_: Set = None
) -> None:
    """List the models in the registry: domain, horizons, which is champion, and why."""

    def work() -> Answer:
        models_dir = read_config(mode, config, set_).tree.paths.under("models")
        found = find_models(models_dir)

        def show(console: Console) -> None:
            if not found:
                console.print(f"no model lies below {models_dir} yet")
                return
            names = ("model", "version", "alias", "horizons", "verdict")
            table = Table(*names, box=None, pad_edge=False, collapse_padding=True)
            for column in table.columns:
                column.no_wrap, column.overflow = True, "fold"
            for entry in found:
                table.add_row(
                    entry["name"],
                    entry["version"],
                    ", ".join(entry["aliases"]),
                    ", ".join(f"{h} s" for h in entry["horizons_s"]),
                    entry["verdict"].replace("_", " "),
                )
            console.print(table)
            for entry in found:
                console.print(f"{entry['version']}: {entry['reason']}", soft_wrap=True)

        return Answer(found, show)

    answer(work, json)


def models_show(
    model: Model,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Show one model: its card, the gate's tests, its certificate and what became of it."""

    def work() -> Answer:
        import orjson

        from foreshock.models.artifact import CERTIFICATE, load_card

        registry = registry_of(read_config(mode, config, set_).tree)
        name, version = resolve(registry, model)
        path = registry.find(name, version)
        assert path is not None
        card = load_card(path)
        proof = path / CERTIFICATE
        document = {
            "name": name,
            "version": version,
            "aliases": sorted(a for a, v in registry.aliases(name).items() if v == version),
            "registered_ns": registry.registered_ns(name, version),
            "path": str(path),
            "card": card.model_dump(mode="json"),
            "certificate": orjson.loads(proof.read_bytes()) if proof.is_file() else None,
            "runs": _runs(registry, name, version),
            "history": [c.as_dict() for c in registry.history(name) if version in _about(c)],
        }
        return Answer(document, lambda console: _show_card(console, document))

    answer(work, json)


def models_promote(
    model: Model,
    reason: Reason = "",
    force: Annotated[
        bool, typer.Option("--force", help="Though the gate did not promote it; give a --reason.")
    ] = False,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="It is compared with the champion, and is silent.")
    ] = False,
    actor: Actor = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Let a model be champion. One that the gate did not promote is refused, unless forced with a
    reason, which is kept in the audit log. Any may be challenger."""

    from foreshock.errors import StoreError
    from foreshock.stores.registry import CHALLENGER, CHAMPION

    def work() -> Answer:
        tree = read_config(mode, config, set_).tree
        registry = registry_of(tree)
        name, version = resolve(registry, model)
        who = actor or getpass.getuser()
        if not challenger:
            change = registry.promote(name, version, who, reason, force=force)
        elif registry.aliases(name).get(CHAMPION) == version:
            raise StoreError(f"{name} {version} is champion: nobody challenges itself")
        else:
            change = registry.point(name, CHALLENGER, version, who, reason)
        return _changed(tree, registry, name, change)

    answer(work, json)


def models_rollback(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model's name in the registry.")],
    reason: Reason = "",
    actor: Actor = None,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Let the champion before this one be champion again; once more goes one further back."""

    def work() -> Answer:
        tree = read_config(mode, config, set_).tree
        registry = registry_of(tree)
        change = registry.rollback(model, actor or getpass.getuser(), reason)
        return _changed(tree, registry, model, change)

    answer(work, json)


def models_compare(
    one: Model,
    other: Model,
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    set_: Set = None,
) -> None:
    """Lay two models' cards side by side: measures by horizon, then all that differs."""

    def work() -> Answer:
        from foreshock.models.artifact import load_card

        registry = registry_of(read_config(mode, config, set_).tree)
        found = [resolve(registry, each) for each in (one, other)]
        paths = [registry.find(*each) for each in found]
        cards = [load_card(path) for path in paths if path is not None]
        here, there = (card.model_dump(mode="json") for card in cards)
        apart = differences(here, there)
        document = {
            "models": [{"name": name, "version": version} for name, version in found],
            "same_test": here["spans_ns"].get("test") == there["spans_ns"].get("test")
            and here["data_fingerprint"] == there["data_fingerprint"],
            "figures": _side_by_side(figures(cards[0]), figures(cards[1])),
            "differences": [
                {"what": what, "one": left, "other": right}
                for what, left, right in apart
                if not what.startswith("metrics.")
            ],
        }
        return Answer(document, lambda console: _show_both(console, document))

    answer(work, json)


def _changed(tree: Config, registry: DirectoryRegistry, name: str, change: Change) -> Answer:
    """What was done, and who was told: the change stands even where the ledger or MLflow is away,
    and the next promotion tells them."""
    from foreshock.errors import StoreError

    told = {}
    for whom, tell in (
        ("audited", registry.tell_ledger),
        ("recorded", lambda: registry.record(tree.registry.tracking_uri)),
    ):
        try:
            tell()
            told[whom] = True
        except StoreError as error:
            _LOG.warning("%s", error)
            told[whom] = False
    document = {"name": name, **change.as_dict(), **told}

    def show(console: Console) -> None:
        before = f", before it {change.before}" if change.before else ""
        console.print(f"{name}: {change.version} is {change.alias}{before}", soft_wrap=True)
        if change.action == "force":
            words = change.verdict.replace("_", " ")
            console.print(f"[yellow]forced[/]: the gate's verdict was {words}")
        if not told["audited"]:
            console.print("the audit log is away: it is told with the next change")
        if not told["recorded"]:
            console.print("MLflow is away: it is brought up to date with the next change")

    return Answer(document, show)


def _about(change: Change) -> tuple[str | None, str]:
    return change.before, change.version


def _runs(registry: DirectoryRegistry, name: str, version: str) -> list[dict[str, Any]]:
    """Runs that made a version: their ids, and where their files are."""
    from foreshock.stores.registry import RUNS
    from foreshock.stores.registry_runs import FILES, read_runs

    place = registry.root / RUNS
    return [
        {"id": run, "state": told["state"], "files": str(place / run / FILES)}
        for run, told in read_runs(place).items()
        if [name, version] in told["models"]
    ]


def _side_by_side(
    one: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    lines = []
    for horizon in sorted({*one, *other}, key=int):
        here, there = one.get(horizon, {}), other.get(horizon, {})
        for name in dict.fromkeys([*here, *there]):
            lines.append(
                {
                    "horizon_s": int(horizon),
                    "figure": name,
                    "one": here.get(name),
                    "other": there.get(name),
                }
            )
    return lines


def _show_card(console: Console, told: Mapping[str, Any]) -> None:
    card = told["card"]
    verdict = card["verdict"] or ("promoted" if card["promoted"] else "refused")
    alias = f"  [bold]{', '.join(told['aliases'])}[/]" if told["aliases"] else ""
    console.print(f"{told['name']} {told['version']}{alias}", soft_wrap=True)
    console.print(f"{verdict.replace('_', ' ')}: {card['reason']}", soft_wrap=True)
    domain, spans = card["domain"], sorted(card["spans_ns"].items(), key=lambda each: each[1])
    lines = {
        "kind, scope": f"{card['kind']}, {card['scope']}",
        "domain": f"{domain['source']}/{domain['market']}/{domain['tier']}",
        "features": f"{len(card['feature_names'])}, layout {card['layout_fingerprint']}",
        "data, labels": f"{card['data_fingerprint']}, {card['label_fingerprint']}",
        "trials": f"{card['trials']:,}",
        "code": card["code_version"] or "not said",
        "registered": _date(told["registered_ns"]),
        **{f"{part} part": f"{_date(a)} to {_date(b)}" for part, (a, b) in spans},
        "max age": f"{card['max_age_s']:g} s" if card["max_age_s"] else "does not expire",
        "files": told["path"],
        **{f"run {run['id']}": run["files"] for run in told["runs"]},
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in lines.items():
        grid.add_row(f"[dim]{name}[/]", value)
    console.print(grid)
    _show_figures(console, card)
    if card["promotion"]:
        tests = Table("gate's test", "outcome", "value", "bound", "words", box=None)
        for test in card["promotion"]:
            words = str(test.get("words", ""))
            cells = [test.get("name"), test.get("outcome"), *map(_number, _bounds(test)), words]
            tests.add_row(*(str(cell) for cell in cells))
        console.print(tests)
    for change in told["history"]:
        console.print(
            f"{_date(change['at_ns'])} {change['actor']}: {change['action']} "
            f"{change['alias']} {change['version']} {change['reason']}".rstrip(),
            soft_wrap=True,
            markup=False,
        )


def _bounds(test: Mapping[str, Any]) -> tuple[Any, Any]:
    return test.get("value"), test.get("bound")


def _show_figures(console: Console, card: Mapping[str, Any]) -> None:
    horizons = [str(horizon_s) for horizon_s in card["horizons_s"]]
    names = dict.fromkeys(name for told in card["metrics"].values() for name in told)
    nothing: dict[str, Any] = {}
    table = Table("on the test part", *(f"{h} s" for h in horizons), box=None)
    for name in names:
        cells = [card["metrics"].get(horizon, nothing).get(name) for horizon in horizons]
        if all(cell is None or isinstance(cell, int | float | str) for cell in cells):
            table.add_row(name, *map(_number, cells))
    table.add_row("threshold", *map(_number, card["thresholds"]))
    table.add_row("approved", *("yes" if each else "no" for each in card["approved"]))
    console.print(table)


def _show_both(console: Console, told: Mapping[str, Any]) -> None:
    one, other = (model["version"] for model in told["models"])
    if not told["same_test"]:
        console.print("[yellow]not measured on the same rows[/]: figures cannot be told apart")
    table = Table("horizon", "figure", one, other, "difference", box=None)
    for line in told["figures"]:
        here, there = line["one"], line["other"]
        apart = "" if here is None or there is None else _number(there - here)
        table.add_row(
            f"{line['horizon_s']} s", line["figure"], _number(here), _number(there), apart
        )
    console.print(table)
    rest = Table("differs", one, other, box=None)
    for line in told["differences"]:
        rest.add_row(line["what"], _short(line["one"]), _short(line["other"]))
    console.print(rest if told["differences"] else "the cards say the same")


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _date(at_ns: int | None) -> str:
    if not at_ns:
        return "not said"
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
