"""`foreshock audit …`: promises, checked by anyone who asks. One verb a promise."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cluster.options import Json
from cluster.output import Answer, answer
from foreshock.errors import ConfigError

if TYPE_CHECKING:
    from foreshock.replay.coldness import Coldness
    from foreshock.replay.parity import Certificate, Plant

MARKETS: Final = ("binance-spot", "binance-usdm")
SYMBOLS: Final = 24
SLOWEST_S: Final = 400  # simulated: longer than any window of one-second buckets
# A market of few pairs that goes on for longer than an hour and has a past (audit_past.py).
LONG_SYMBOLS, LONG_S = 5, 4_100
# Where an engine starts cold: in the midst of the first pair's candles, and of the tape.
COLD_S, COLD_IN_PAST, COLD_IN_TAPE = 900, 8, 0.6
LONG_START_NS: Final = 1_767_225_480 * 10**9  # two minutes before a UTC midnight
PLANTED_S, PLANTED_SYMBOLS = 30, 6  # the small market in which divergences are planted
PLANTED_AFTER: Final = 1_000
RECORDINGS: Final = "FORESHOCK_RECORDINGS"


def audit_parity(
    rows: Annotated[int, typer.Option("--rows", help="At least so many rows.")] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", help="Of the market and of every cut.")] = 1,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings", help=f"Raw sessions to take in too; else those of ${RECORDINGS}."
        ),
    ] = None,
    plant: Annotated[
        bool, typer.Option("--plant", help="Lose one row on purpose: the audit must fail.")
    ] = False,
    json: Json = False,
) -> None:
    """Certify that no bit depends on how the input was cut, restored or replayed.

    Simulated markets of both kinds, with losses, cuts and forced resyncs, and recorded sessions
    where they are at hand, go through two engines: one fed as it comes, one in random pieces and
    restored from its snapshot in mid-stream. Exit code 1 says that a bit differed, that a feature
    was never compared, or that a planted divergence was not caught."""

    def work() -> Answer:
        if rows < 1:
            raise ConfigError(f"--rows {rows} is below 1")
        folder = recordings or Path(os.environ.get(RECORDINGS, "recordings"))
        if recordings is not None and not recordings.is_dir():
            raise ConfigError(f"--recordings {recordings} is no directory")
        return _parity(rows, seed, folder, plant)

    answer(work, json)


def _parity(rows: int, seed: int, folder: Path, plant: bool) -> Answer:
    from foreshock.features import catalog
    from foreshock.market.rows import KIND_NAMES
    from foreshock.replay.coldness import Coldness
    from foreshock.replay.parity import Certificate, plants

    began_s = time.process_time()
    names = catalog.layout().names
    found = Certificate(names)
    wanted = plants(PLANTED_AFTER)
    lost = next(one for one in wanted if one.rows is not None) if plant else None
    recorded = [_recorded(paths, found, seed) for paths in raw_sessions(folder)]
    left = max(0, rows - found.rows)
    cold = Coldness(names)
    for k, market in enumerate(MARKETS):
        _simulated(market, left // len(MARKETS) + 1, seed + k, found, lost if k == 0 else None)
        _long(market, seed + k, found)
        _cold(market, seed + k, cold)
    missed = [name for one in wanted for name in _not_caught(one, names, seed)]
    planted = len(names) + len(wanted) - 1  # the first spoils each feature
    alarms = found.alarms + [f"planted and not caught: {name}" for name in missed]
    document = {
        "features": len(names),
        "rows": found.rows,
        "differing_bits": found.differing_bits,
        "alarms": alarms,
        "planted": {"caught": planted - len(missed), "of": planted},
        "first": found.first,
        "differing": dict(found.differing),
        "boundaries": found.boundaries,
        "values": dict(zip(names, found.given.tolist(), strict=True)),
        "kinds": {KIND_NAMES[kind]: n for kind, n in sorted(found.kinds.items())},
        "cuts": found.cuts,
        "restores": found.restores,
        "resyncs": found.resyncs,
        "recorded_rows": sum(recorded),
        "recorded_sessions": len(recorded),
        "cold_start": cold.as_dict(),
        "seed": seed,
        "cpu_s": round(time.process_time() - began_s, 1),
    }

    def show(console: Console) -> None:
        console.print(
            f"{found.differing_bits} differing bits over {len(names)} features, {found.rows} rows"
            f" ({document['recorded_rows']} recorded), {found.boundaries} boundaries,"
            f" {found.cuts} cuts, {found.restores} restores, {found.resyncs} resyncs;"
            f" {planted - len(missed)} of {planted} planted divergences caught",
            soft_wrap=True,
        )
        apart = {n: told for n, told in document["cold_start"].items() if told["worst_ulp"]}
        worst = sorted(apart, key=lambda n: -apart[n]["worst_ulp"])[:5]
        console.print(
            f"a cold start is the same bits once warm for {len(names) - len(apart)} features; "
            f"furthest, in units in the last place: "
            + (", ".join(f"{name} {apart[name]['worst_ulp']}" for name in worst) or "none"),
            soft_wrap=True,
        )
        for line in ([f"first: {found.first}"] if found.first else []) + alarms:
            console.print(line, soft_wrap=True)

    return Answer(document, show, passed=found.differing_bits == 0 and not alarms)


def raw_sessions(folder: Path) -> list[list[Path]]:
    """The raw sessions of `folder` that `foreshock.stores.raw_sessions` reads, a list of files
    each; empty where there is no folder."""
    files = sorted(path for path in folder.glob("ws_raw/**/*") if path.is_file())
    seen: dict[Path, Path] = {}
    for path in files:  # the parts of a session share their name up to the first dot
        stem, _, _ = path.name.partition(".")
        seen.setdefault(path.parent / stem, path)
    return [[path] for path in seen.values()]


def _recorded(paths: list[Path], found: Certificate, seed: int) -> int:
    """Certify one recorded session; how many rows it had."""
    from foreshock.replay.driver import rows_of_raw, tape_of
    from foreshock.replay.parity import certify
    from foreshock.replay.tap import Tap
    from foreshock.stores.raw_sessions import read_raw_session
    from foreshock.venues.binance import BinanceSession

    before, raw = found.rows, read_raw_session(paths)
    if not raw.instruments:
        return 0
    tape = tape_of(raw.events)
    one, other = (BinanceSession(raw.instruments, tape=tape) for _ in range(2))
    tap: Any = Tap(one)
    certify(rows_of_raw(tap, raw.events), tap, other, found, seed)
    return found.rows - before


def _simulated(
    market: str, rows: int, seed: int, found: Certificate, plant: Plant | None, small: bool = False
) -> None:
    """Certify a simulated market of at least `rows` rows, or a small one for a plant."""
    from cluster.audit_market import shell
    from cluster.audit_past import with_context
    from foreshock.features.settings import FeatureSettings
    from foreshock.replay.parity import RESTORE_EVERY, certify
    from foreshock.replay.tap import Tap
    from foreshock.simulation.exchange import SimulatedExchange
    from foreshock.simulation.settings import SimulationSettings
    from foreshock.venues.binance import BinanceSession

    # 25 rows a second and symbol at the usual activity.
    symbols, seconds = (PLANTED_SYMBOLS, PLANTED_S) if small else (SYMBOLS, SLOWEST_S)
    activity = min(20.0, max(1.0, rows / (seconds * symbols * 25)))
    exchange = SimulatedExchange(
        SimulationSettings.model_validate(
            {"seed": seed, "symbols": symbols, "market": market, "activity": activity}
        )
    )
    tap = Tap(BinanceSession(exchange.instruments()))
    other = BinanceSession(exchange.instruments())
    until = found.rows + rows

    def enough(second: int) -> bool:
        return second >= seconds and found.rows >= until

    source = with_context(shell(exchange, tap, random.Random(seed), enough), tap, FeatureSettings())
    certify(source, tap, other, found, seed, plant, 1_000 if small else RESTORE_EVERY)


def long_market(market: str, seed: int, seconds: int, tap_of: Any) -> tuple[Any, Any]:
    """(tap, rows) of a market of few pairs with a past; `tap_of` makes the tap of a session."""
    from cluster.audit_market import shell
    from cluster.audit_past import past, with_context
    from foreshock.features.settings import FeatureSettings
    from foreshock.simulation.exchange import SimulatedExchange
    from foreshock.simulation.settings import SimulationSettings, streams_of
    from foreshock.venues.binance import BinanceSession

    exchange = SimulatedExchange(
        SimulationSettings.model_validate(
            {
                "seed": seed,
                "symbols": LONG_SYMBOLS,
                "market": market,
                "start_ns": LONG_START_NS,
                "streams": [s for s in streams_of(market) if s != "aggTrade"],
            }
        )
    )
    tap = tap_of(BinanceSession(exchange.instruments()))
    before = past(exchange, tap, exchange.symbols, seed, FeatureSettings())
    played = shell(exchange, tap, random.Random(seed), lambda second: second >= seconds, before)
    return tap, with_context(played, tap, FeatureSettings())


def _long(market: str, seed: int, found: Certificate) -> None:
    """Certify a market that goes on for longer than an hour."""
    from foreshock.replay.parity import certify
    from foreshock.replay.tap import Tap
    from foreshock.venues.binance import BinanceSession

    tap, rows = long_market(market, seed, LONG_S, Tap)
    certify(rows, tap, BinanceSession(list(tap.instruments)), found, seed)


def _cold(market: str, seed: int, found: Coldness) -> None:
    """Start a second engine cold, once in mid-past and once in mid-tape, and compare."""
    from foreshock.engine.step import Engine
    from foreshock.replay.coldness import compare

    session, rows = long_market(market, seed, COLD_S, lambda session: session)
    batches = list(rows)
    for cold_from in (COLD_IN_PAST, int(COLD_IN_TAPE * len(batches))):
        compare(batches, Engine(list(session.instruments)), cold_from, found)


def _not_caught(plant: Plant, names: tuple[str, ...], seed: int) -> list[str]:
    """What a small market with the plant in it does not say: of a bit in each feature every feature
    has to be named."""
    from foreshock.replay.parity import A_BIT_OF_EACH, Certificate

    found = Certificate(names)
    _simulated(MARKETS[0], 1, seed, found, plant, small=True)
    if plant.name == A_BIT_OF_EACH:
        return [f"a bit of {name}" for name in names if found.differing[name] != 1]
    return [] if found.differing_bits else [plant.name]
