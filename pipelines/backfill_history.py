"""Make history: `python -m pipelines.backfill_history [PAIR …]`.

With pairs named, the venue's archive is downloaded, as `pipelines.download_history` says. Without,
the history that a first model is trained on is made: the simulated exchange is let run as fast as
it can; its frames take the way that live frames take (session, engine, recording), so that history
and live input differ in nothing but the clock. Frames carry the exchange's time only: when they
reached us is *modelled*, a seeded draw, and the manifest says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.step import Engine
from foreshock.features.settings import FeatureSettings
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.context import GATHER_NS, Gatherer
from foreshock.market.rows import CONNECTED, Rows
from foreshock.replay.driver import distrust
from foreshock.settings import load
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings, streams_of
from foreshock.stores.recordings import RecordingWriter
from foreshock.stores.series_book import SeriesBook, calls
from foreshock.stores.series_settings import SeriesSources
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from foreshock.venues.binance_wire import BinanceWire
from foreshock.venues.wire import Request
from pipelines import download_history
from pipelines.slow_series import book_of

DELAY_MEDIAN_NS: Final = 1 * MS_NS  # from the exchange's stamp to ours, on one machine
DELAY_SPREAD: Final = 0.5  # standard deviation of its logarithm
WRITE_EVERY_S: Final = 60
HISTORY_SEED: Final = 1_000_003  # added to the exchange's seed: history is never the live tape


class _Backfill:
    """One exchange, its session and an engine that watches over the books; what the symbols do is
    told to all of them, as a supervisor does."""

    def __init__(
        self, settings: SimulationSettings, features: FeatureSettings, book: SeriesBook | None
    ) -> None:
        self.exchange = SimulatedExchange(settings)
        instruments = self.exchange.instruments()
        self.session = BinanceSession(instruments)
        self.engine = Engine(instruments, FeatureSettings(families=("context",)))
        self._delays = np.random.default_rng(settings.seed)
        self._gatherer: Gatherer | None = None
        if "context" in features.families:
            self._gatherer = Gatherer(self.exchange.symbols, features.context.gathered)
        self._book, self._known_ns = book, 0  # of slow series; until when they are told
        self._told: list[tuple[int, bytes]] = []  # (boundary, what is told of it), not yet rows
        self._wire = BinanceWire(settings.market)
        self._polls = self._wire.polls(self.exchange.symbols)

    def start(self) -> Rows:
        """The session's first rows: epochs, a connection, and the past that REST tells of."""
        at_ns, session = self.exchange.now_ns, self.session
        names = self.exchange.symbols
        families = BOOK_FAMILY | TAPE_FAMILY
        first = session.start(at_ns)
        joined = session.connection(0, CONNECTED, families, names, 0, at_ns)
        return self._seen([first, joined, *self._slow(at_ns), *self._past(at_ns)])

    def second(self) -> Rows:
        """The rows of the next second, its timer row last."""
        until_ns, session = self.exchange.now_ns + SECOND_NS, self.session
        got = self.exchange.advance_buffer(until_ns)
        arrivals = self._arrivals(got.event_ns)
        parts, first = [], 0
        for boundary_ns, body in self._told:
            known_ns = boundary_ns + GATHER_NS
            cut = int(np.searchsorted(arrivals, known_ns))
            parts.append(
                session.receive_buffer(got.data, got.starts[first : cut + 1], arrivals[first:cut])
            )
            parts.append(session.context(boundary_ns, known_ns, body, known_ns))
            first = cut
        self._told.clear()
        parts.append(session.receive_buffer(got.data, got.starts[first:], arrivals[first:]))
        for request in session.wanted():
            body = self.exchange.depth(request.symbol, request.levels)
            parts.append(session.receive_snapshot(request.symbol, body, request.levels, until_ns))
        parts += self._polled(until_ns)
        parts += self._slow(until_ns)
        parts.append(session.timer(until_ns))
        rows = self._seen(parts)
        broken = distrust(self.engine, session, until_ns)
        return np.concatenate([rows, self._seen(broken)]) if broken else rows

    def _past(self, at_ns: int) -> list[Rows]:
        """Page by page, as `actors/rest.py` asks for it."""
        out = []
        for first in self._wire.history(self.exchange.symbols, at_ns):
            wanted: Request | None = first
            while wanted is not None and (body := self._answer(wanted)) is not None:
                out.append(self.session.receive_answer(first.kind, first.symbol, body, at_ns))
                wanted = self._wire.later(wanted, body)
        return out

    def _slow(self, at_ns: int) -> list[Rows]:
        """What became known of the slow series since it was last told, as a watcher is told."""
        if self._book is None:
            return []
        book, since_ns = self._book, self._known_ns
        known = book.between(since_ns, at_ns) if since_ns else book.by(at_ns)
        self._known_ns = at_ns
        return [self.session.context(*call, at_ns) for call in calls(known)]

    def _answer(self, request: Request) -> bytes | None:
        query = {name: str(value) for name, value in request.params.items()}
        return self.exchange.answer(request.path, query, int(request.params.get("limit", 1)))

    def _polled(self, at_ns: int) -> list[Rows]:
        """What a watcher asks again and again, each request at a second of its own."""
        out = []
        for k, request in enumerate(self._polls):
            if (at_ns // SECOND_NS + k) % int(request.every_s) == 0:
                body = self._answer(request)
                if body is not None:
                    out.append(
                        self.session.receive_answer(request.kind, request.symbol, body, at_ns)
                    )
        return out

    def _arrivals(self, event_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        drawn = self._delays.lognormal(np.log(DELAY_MEDIAN_NS), DELAY_SPREAD, len(event_ns))
        return np.maximum.accumulate(event_ns + drawn.astype(np.int64))

    def _seen(self, parts: Sequence[Rows]) -> Rows:
        rows = np.concatenate(parts)
        for boundary in self.engine.feed(rows):
            if self._gatherer is not None:
                at_ns = boundary.boundary_ns
                self._told.append((at_ns, self._gatherer.alone(at_ns, boundary.bill_inputs)))
        return rows


def backfill_simulation(
    directory: Path, settings: SimulationSettings, seconds: int,
    features: FeatureSettings | None = None, slow: SeriesSources | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Record `seconds` of a simulated exchange; says {directory, symbols, rows, seconds}. All that
    a watcher hears is in it: bars and, on USD-M, marks, liquidations and metrics too, and context
    rows where `features` (without them: the whole catalogue) look at what other symbols do, or at
    the slow series of `slow`.

    Raises RecordingError where the directory holds another recording, ArchiveError where a source
    of a slow series cannot be read."""
    heard = tuple(s for s in streams_of(settings.market) if s != "aggTrade")
    settings = settings.model_copy(update={"streams": heard})
    features = features or FeatureSettings()
    book = book_of(slow, features)
    run = _Backfill(settings, features, book)
    meta = {
        "source": "simulation",
        "market": settings.market,
        "arrival": "modelled",
        "simulation": settings.model_dump(mode="json"),
    }
    if book is not None:
        meta["series"] = [one.model_dump(mode="json") for one in book.sources]
    writer = RecordingWriter(directory, run.exchange.instruments(), meta)
    pending, rows = [run.start()], 0
    for second in range(seconds):
        pending.append(run.second())
        if (second + 1) % WRITE_EVERY_S == 0 or second + 1 == seconds:
            batch = np.concatenate(pending)
            writer.write(batch)
            rows += len(batch)
            pending = []
    writer.close()
    symbols = len(run.exchange.symbols)
    return {"directory": str(directory), "symbols": symbols, "rows": rows, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and not given[0].startswith("-"):
        return download_history.main(given)
    parser = argparse.ArgumentParser(description=__doc__, prog="pipelines.backfill_history")
    parser.add_argument("--out", type=Path, help="default: <var_dir>/history/simulation")
    parser.add_argument("--seconds", type=int, help="default: training.history_s")
    parser.add_argument("--symbols", type=int, help="default: those of simulation.symbols")
    parser.add_argument("--seed", type=int, help="default: simulation.seed, far away")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    flags = parser.parse_args(given)
    tree = load().tree
    seed = tree.simulation.seed + HISTORY_SEED if flags.seed is None else flags.seed
    changes = {"seed": seed, **({"symbols": flags.symbols} if flags.symbols else {})}
    settings = SimulationSettings.model_validate({**tree.simulation.model_dump(), **changes})
    out = flags.out or tree.paths.under("history", "simulation")
    seconds = flags.seconds or tree.training.history_s
    done = backfill_simulation(out, settings, seconds, tree.features, tree.series)
    if flags.json:
        json.dump(done, sys.stdout)
    else:
        print(f"{done['seconds']} s of {done['symbols']} symbols, {done['rows']} rows: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
