"""`foreshock status`: how the running installation goes, asked over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from cluster.options import Json
from cluster.output import Answer, PartMissingError, answer
from cluster.table import BOOK_STYLES
from foreshock.errors import ConfigError, ForeshockError

API: Final = "http://127.0.0.1:8000"
PREFIX: Final = "/api/v1"
TIMEOUT_S: Final = 5.0


def status(
    api: Annotated[str, typer.Option("--api", metavar="URL", help="Where it answers.")] = API,
    json: Json = False,
) -> None:
    """Ask the running installation for its health and its symbols; exits with 1 when degraded."""

    def work() -> Answer:
        site = site_of(api)
        health = ask(site, "/health/detailed")
        if "status" not in health:
            raise ForeshockError(f"{site} answers, but not with the health of a foreshock")
        listed = ask(site, "/symbols")
        symbols: list[dict[str, Any]] = listed.get("symbols") or []
        document = {"api": site, "health": health, "symbols": symbols}
        if "error" in listed:
            document["error"] = listed["error"]

        def show(console: Console) -> None:
            for line in headlines(site, health):
                console.print(line, markup=False, soft_wrap=True)
            if symbols:
                console.print(table_of(symbols))

        passed = health["status"] != "degraded" and "error" not in listed
        return Answer(document, show, passed)

    answer(work, json)


def site_of(api: str) -> str:
    """The address without path: what `up` prints as api is taken too. Raises ConfigError."""
    site = api.strip().rstrip("/").removesuffix(PREFIX)
    scheme, separator, host = site.partition("://")
    if scheme not in ("http", "https") or not separator or not host:
        raise ConfigError(f"--api {api!r} is no address like {API}")
    return site


def ask(site: str, path: str) -> dict[str, Any]:
    """The JSON object at a path of the API, be the answer good or bad.

    Raises PartMissingError where nothing answers, ForeshockError where something else does."""
    import httpx

    url = f"{site}{PREFIX}{path}"
    try:
        # No proxy of the environment: the installation is asked itself.
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            got = client.get(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"--api {site!r}: {error}") from error
    except httpx.HTTPError as error:
        raise PartMissingError(
            f"nothing answers at {site} ({error or type(error).__name__}): "
            "start it with `foreshock up` or `foreshock demo`"
        ) from error
    try:
        body = got.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ForeshockError(f"{url} answers {got.status_code}, but no JSON object of a foreshock")
    return body


def headlines(site: str, health: Mapping[str, Any]) -> list[str]:
    """The health of the installation in a few lines."""
    silent_ms = health.get("silent_ms")
    heard = "nothing heard yet" if silent_ms is None else f"heard {silent_ms / 1_000:.1f} s ago"
    lines = [f"{site}: {health['status']}, {heard}"]
    if health.get("version"):
        lines[0] += f", version {health['version']}"
    stores = ", ".join(f"{name} {word}" for name, word in health.get("stores", {}).items())
    books = ", ".join(f"{n} {state}" for state, n in sorted(health.get("books", {}).items()))
    lines += [f"{name:8s}{text}" for name, text in (("stores", stores), ("books", books)) if text]
    lines.append(f"{'model':8s}{health.get('model_version') or 'none'}{_age(health)}")
    lines += retraining_lines(health.get("retraining") or {})
    error = health.get("error")
    if isinstance(error, Mapping):
        lines.append(f"{'error':8s}{error.get('message', error)}")
    return lines


def _age(health: Mapping[str, Any]) -> str:
    """How old the model is, where it says so, and whether it may still speak."""
    model = health.get("model") or {}
    if model.get("age_s") is None:
        return ""
    most = model.get("max_age_s")
    limit = "" if not most else f" of {most / 3_600:g} h"
    return f", {model['age_s'] / 3_600:.1f} h old{limit}{', EXPIRED' if model['expired'] else ''}"


def retraining_lines(told: Mapping[str, Any]) -> list[str]:
    """A line for each thing that is trained anew; none where no retrainer runs."""
    lines = []
    for line in told.get("targets", []):
        words = f"{line['schedule']}/{line['scope']} {line['state']}"
        if line["waits_for"]:
            words += f": no family {line['waits_for']} is installed"
        elif line["reason"]:
            words += f": {line['reason']}"
        if line["next_ns"]:
            minutes = (line["next_ns"] - told["at_ns"]) / 60e9
            words += f"; next in {max(0.0, minutes):.0f} min"
        lines.append(f"{'retrain':8s}{words}")
    if told.get("drifted"):
        lines.append(f"{'drift':8s}live vectors have left what the model was trained on")
    if told.get("problem"):
        lines.append(f"{'retrain':8s}{told['problem']}")
    return lines


def table_of(symbols: list[dict[str, Any]]) -> Table:
    """One row a symbol: price, book, probability, last verdict and its age."""
    table = Table(box=None, pad_edge=False)
    table.add_column("symbol")
    table.add_column("last", justify="right")
    table.add_column("book")
    table.add_column("P", justify="right")
    table.add_column("verdict")
    table.add_column("age", justify="right")
    for line in symbols:
        state, chance, age_ms = line["book_state"], line["probability"], line["age_ms"]
        style = BOOK_STYLES.get(state or "", "")
        table.add_row(
            line["symbol"],
            "" if line["last"] is None else f"{line['last']:g}",
            f"[{style}]{state}[/]" if style else (state or ""),
            "" if chance is None else f"{chance:.3f}",
            "SIGNAL" if line["signal"] else (line["reason"] or "none yet"),
            "" if age_ms is None else f"{age_ms / 1_000:.1f} s{' stale' if line['stale'] else ''}",
        )
    return table
