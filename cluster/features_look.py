"""`foreshock features show` and `foreshock features plot`: one feature, explained, and seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from cluster.options import Files, Json, Set, read_config
from cluster.output import Answer, answer
from foreshock.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock.engine.outcomes import Boundary
    from foreshock.features.catalog import FeatureSet
    from foreshock.features.vector import FeatureSpec
    from foreshock.market.instruments import Instrument
    from foreshock.settings import Config

Name = Annotated[str, typer.Argument(help="Of the feature, as `features list` has it.")]
On = Annotated[
    list[Path] | None,
    typer.Option("--on", help="A recording (a directory), or files of one recorded session."),
]
Symbol = Annotated[str | None, typer.Option("--symbol", help="Default: the busiest.")]


@dataclass(frozen=True, slots=True)
class Seen:
    """A feature on real rows. b boundaries.

    symbol   whose
    time_ns  int64 (b,)
    price    (b,) last traded price, NaN before the first
    value    (b,) the feature, NaN where it is not known
    """

    symbol: str
    time_ns: NDArray[np.int64]
    price: NDArray[np.float64]
    value: NDArray[np.float64]

    def summary(self) -> dict[str, Any]:
        """JSON-ready."""
        known = self.value[np.isfinite(self.value)]
        at = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        quantiles = np.quantile(known, at).tolist() if len(known) else [None] * len(at)
        return {
            "symbol": self.symbol,
            "boundaries": len(self.value),
            "known": len(known),
            "quantiles": dict(zip(map(str, at), quantiles, strict=True)),
        }


def features_show(
    name: Name,
    on: On = None,
    symbol: Symbol = None,
    json: Json = False,
    config: Files = None,
    given: Set = None,
) -> None:
    """Explain a feature: formula, windows, inputs, warm-up, source; with --on also its values."""

    def work() -> Answer:
        tree = read_config("replay", config, given).tree
        spec = _spec(name, tree)
        document = {**asdict(spec), "digest": spec.digest}
        if on:
            document["seen"] = seen(name, on, symbol, tree).summary()

        def show(console: Console) -> None:
            for key, value in document.items():
                if key != "seen":
                    console.print(f"[bold]{key:>10}[/]  {value}", soft_wrap=True)
            if "seen" in document:
                told = document["seen"]
                console.print(
                    f"\non {told['symbol']}: known at {told['known']} of {told['boundaries']} "
                    "boundaries"
                )
                if told["known"]:
                    for share, value in told["quantiles"].items():
                        console.print(f"{float(share):>9.0%}  {value:.6g}")

        return Answer(document, show)

    answer(work, json)


def features_plot(
    name: Name,
    on: On = None,
    out: Annotated[Path, typer.Option("--out", help="Where the picture goes.")] = Path(
        "feature.png"
    ),
    symbol: Symbol = None,
    json: Json = False,
    config: Files = None,
    given: Set = None,
) -> None:
    """Draw a feature beneath the price that it was computed from, as PNG or SVG."""

    def work() -> Answer:
        tree = read_config("replay", config, given).tree
        spec = _spec(name, tree)
        if not on:
            raise ConfigError("--on says which rows are drawn: a recording, or recorded files")
        found = seen(name, on, symbol, tree)
        _draw(spec, found, out)
        document = {"picture": str(out), **found.summary()}
        return Answer(document, lambda console: console.print(f"{name} of {found.symbol}: {out}"))

    answer(work, json)


def _spec(name: str, tree: Config) -> FeatureSpec:
    from difflib import get_close_matches

    from foreshock.features.catalog import layout

    found = {spec.name: spec for spec in layout(tree.features)}
    if name not in found:
        near = get_close_matches(name, found, n=3, cutoff=0.4)
        raise ConfigError(f"no feature is called {name!r}" + (f"; near: {near}" if near else ""))
    return found[name]


def seen(name: str, paths: list[Path], symbol: str | None, tree: Config) -> Seen:
    """The feature over recorded rows. Raises ConfigError where they have no such symbol."""
    from foreshock.features.catalog import FeatureSet

    chosen = FeatureSet(tree.features).reduced([name])
    instruments, boundaries = _boundaries(paths, chosen)
    symbols = [instrument.symbol for instrument in instruments]
    closed = list(boundaries)
    if not closed:
        raise ConfigError(f"no boundary closes in {', '.join(map(str, paths))}: it is too short")
    if symbol is None:
        symbol = symbols[int(np.argmax(closed[-1].rows))]
    if symbol not in symbols:
        raise ConfigError(f"{symbol!r} is not among {symbols}")
    s, k = symbols.index(symbol), chosen.layout.names.index(name)
    return Seen(
        symbol,
        np.array([b.boundary_ns for b in closed], np.int64),
        np.array([b.bill_inputs["last"][s] for b in closed]),
        np.array([b.vectors[s, k] for b in closed], np.float64),
    )


def _boundaries(
    paths: list[Path], chosen: FeatureSet
) -> tuple[list[Instrument], Iterator[Boundary]]:
    from foreshock.engine.step import Engine
    from foreshock.replay.driver import replay_raw, tape_of
    from foreshock.stores.raw_sessions import read_raw_session
    from foreshock.stores.recordings import open_recording
    from foreshock.venues.binance import BinanceSession

    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise ConfigError("give one directory, or several files of one recorded session")
        recording = open_recording(paths[0])
        engine = Engine(recording.instruments, chosen.settings)
        return list(recording.instruments), (
            boundary for rows in recording.rows() for boundary in engine.feed(rows)
        )
    raw = read_raw_session(paths)
    engine = Engine(raw.instruments, chosen.settings)
    session = BinanceSession(raw.instruments, tape=tape_of(raw.events))
    return list(raw.instruments), (
        boundary for _, closed in replay_raw(engine, session, raw.events) for boundary in closed
    )


def _draw(spec: FeatureSpec, found: Seen, out: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    canvas = FigureCanvasSVG if out.suffix == ".svg" else FigureCanvasAgg
    canvas(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    seconds = (found.time_ns - found.time_ns[0]) / 1e9
    above.plot(seconds, found.price, color="#333333", linewidth=0.9)
    above.set_ylabel(f"last price of {found.symbol}")
    above.set_title(spec.name, loc="left", fontweight="bold")
    below.plot(seconds, found.value, color="#b3261e", linewidth=0.9)
    below.set_ylabel(f"{spec.name}\n[{spec.unit}]")
    below.set_xlabel(f"seconds since {np.datetime64(int(found.time_ns[0]), 'ns')} UTC")
    below.text(
        0.0, -0.28, f"{spec.formula}\n{spec.source}", transform=below.transAxes, fontsize=8,
        va="top", wrap=True,
    )  # fmt: skip
    for axes in (above, below):
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(out, dpi=110)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out}: {error}") from error
