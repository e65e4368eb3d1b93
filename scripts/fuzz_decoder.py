"""Damaged real frames through the compiled decoder and its slow twin of plain JSON: what they say
must be the same, outcome for outcome and row for row.

    python -m scripts.fuzz_decoder --frames 10000000 --recordings ../shared/data --json

Runs of consecutive recorded frames (and of made ones, for the streams that nobody recorded) are
damaged frame by frame, so that books are joined, followed and broken on the way. The first
difference ends it with exit code 1 and the frame. The same seed gives the same frames.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from foreshock.market.instruments import SPOT, USDM, Instrument
from foreshock.market.rows import RESYNCING, STALE, SYNCED
from foreshock.replay.driver import tape_of
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance import BinanceSession
from tests.reference.frames import FrameTwin, lines_of
from tests.reference.mutations import mutate
from tests.reference.venue import Venue

RUN = 240  # frames read by one session
BATCH = 24  # frames between two looks
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


class Material(NamedTuple):
    """Frames in order, whole, of one market."""

    name: str
    frames: list[bytes]
    instruments: list[Instrument]
    market: str
    tape: str
    start_ns: int


class Difference(NamedTuple):
    """What the two said of one frame."""

    frame: bytes
    decoder: object
    twin: object


def made(market: str, tape: str, seed: int = 3, n: int = 4_000) -> Material:
    """Frames of every stream from the naive venue."""
    venue, rng = Venue(market, SYMBOLS, seed), random.Random(seed)
    kinds = [
        venue.diff, venue.trade, venue.agg_trade, venue.quote, venue.kline, venue.mark,
        venue.liquidation,
    ]  # fmt: skip
    frames = [rng.choice(kinds)(rng.choice(SYMBOLS)) for _ in range(n)]
    return Material(f"made {market} {tape}", frames, venue.instruments(), market, tape, NOW)


def recorded(recordings: Path, most: int = 20_000) -> list[Material]:
    """All raw sessions of the recordings; none where there are none."""
    folder = recordings / "ws_raw"
    paths = [
        path
        for path in sorted(folder.glob("cryptofeed/*")) + sorted(folder.glob("hftbacktest/*/*"))
        if "http" not in path.name and ".ws." not in path.name
    ]
    out = []
    for path in paths:
        given = read_raw_session([path])
        frames = [event.body for event in given.events if event.kind == "frame"][:most]
        start_ns = given.events[0].arrival_ns
        tape = tape_of(given.events)
        out.append(Material(path.name, frames, given.instruments, given.market, tape, start_ns))
    return out


class Fuzz:
    """One session and its twin, fed with the same damaged frames."""

    def __init__(self, given: Material, rng: random.Random) -> None:
        self.rng, self.instruments = rng, given.instruments
        self.session = BinanceSession(given.instruments, tape=given.tape)
        self.twin = FrameTwin(given.instruments, given.market, given.tape)
        self.now = given.start_ns
        self.session.start(self.now)
        self.twin.start()

    def batch(self, frames: Sequence[bytes]) -> tuple[Counter[str], Difference | None]:
        """Read these at once. (Outcomes, the difference if there is one)."""
        before = self.session.counts
        self.now += self.rng.choice((1, 1_000, SECOND, 40 * SECOND))
        stamps = np.arange(self.now, self.now + len(frames))
        found = lines_of(self.session.receive(list(frames), stamps))
        outcomes: Counter[str] = Counter()
        at = 0
        for frame, stamp in zip(frames, stamps.tolist(), strict=True):
            outcome, lines = self.twin.read(frame, stamp)
            outcomes[outcome] += 1
            if found[at : at + len(lines)] != lines:
                return outcomes, Difference(frame, found[at : at + len(lines)], (outcome, lines))
            at += len(lines)
        self.now += len(frames)
        counted = {name: n - before[name] for name, n in self.session.counts.items()}
        if at != len(found) or counted != {name: outcomes[name] for name in counted}:
            return outcomes, Difference(b"\n".join(frames), (found[at:], counted), dict(outcomes))
        return outcomes, None

    def join(self) -> None:
        """Books that wait get a snapshot that joins, tapes fall silent now and then."""
        for s, instrument in enumerate(self.instruments):
            book = self.twin.books[s]
            if book.state == RESYNCING and book.held:
                known = max(diff.last for diff in book.held)
                body = b'{"lastUpdateId":%d,"bids":[["1000","1"]],"asks":[["2000","1"]]}' % known
                rows = self.session.receive_snapshot(instrument.symbol, body, 1000, self.now)
                if book.snapshot(known) != (len(rows) > 0):
                    raise AssertionError(f"{instrument.symbol}: one of the two joined at {known}")
                self.twin.heard["depthUpdate", s] = self.now
        if self.rng.random() < 0.1:
            self.now += 10_000 * SECOND
            self.session.timer(self.now)
            heard = self.twin.heard
            for s, book in enumerate(self.twin.books):
                if book.state == SYNCED:
                    book.silent()
                if (self.twin.tape, s) in heard:
                    self.twin.tape_state[s] = STALE


def run(
    materials: Sequence[Material], frames: int, seed: int, seconds: float = float("inf")
) -> dict[str, object]:
    """Read so many damaged frames, or as many as fit the seconds. JSON-ready: how many, what became
    of them, the difference."""
    rng, read, outcomes = random.Random(seed), 0, Counter[str]()
    started = time.perf_counter()
    difference = None
    while read < frames and difference is None and time.perf_counter() - started < seconds:
        given = rng.choice(materials)
        at = rng.randrange(max(1, len(given.frames) - RUN))
        part = given.frames[at : at + RUN]
        fuzz = Fuzz(given, rng)
        for k in range(0, len(part), BATCH):
            harm = rng.random() < 0.8  # some batches come whole: books stand for a while
            batch = [mutate(f, rng) if harm else f for f in part[k : k + BATCH]]
            counted, difference = fuzz.batch(batch)
            outcomes += counted
            read += len(batch)
            if difference is not None:
                break
            fuzz.join()
    return {
        "frames": read,
        "outcomes": dict(outcomes.most_common()),
        "differences": 0 if difference is None else 1,
        "first": None if difference is None else [repr(part) for part in difference],
        "materials": [given.name for given in materials],
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
    }


def materials_of(recordings: Path) -> list[Material]:
    """What is recorded, and frames of every stream that are made."""
    return [
        *recorded(recordings),
        *(made(market, tape) for market in (SPOT, USDM) for tape in ("trade", "aggTrade")),
    ]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true", help="print JSON only")
    given = parser.parse_args()
    materials = materials_of(given.recordings)
    found = run(materials, given.frames, given.seed, given.seconds)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write("\n".join(f"{name}: {value}" for name, value in found.items()) + "\n")
    return 1 if found["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
