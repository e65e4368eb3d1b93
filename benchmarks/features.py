"""Features: what a trade, a frame and a boundary cost, beside the data frame libraries.

streaming    sixteen features of the tape, trade by trade in micro-batches of 256 rows, a vector
             every second
batch        the same in one call a second over the whole tape; pandas, polars and DuckDB do it
             their way, in an environment of their own, and must come to the same numbers
catalogue    every feature there is, over the mix (one depth diff to four trades) of 20 symbols:
             the whole engine behind the decoder
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import _mix as mix
from benchmarks import _tape
from benchmarks._peers import SCRIPTS, Package, PeerError, environment
from benchmarks.common import THREADS, Contestant, Figures, arguments, finish, say, take_turns
from benchmarks.decode_book import Shell
from foreshock.engine.step import Engine
from foreshock.features.catalog import FeatureSet
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import as_words
from foreshock.market.touch import TOUCH_WORDS

LIBRARIES = {
    "pandas": ("pandas==2.3.3", "numpy==2.4.6"),
    "polars": ("polars==1.35.2", "numpy==2.4.6"),
    "duckdb": ("duckdb==1.4.2", "pyarrow==22.0.0", "numpy==2.4.6"),
}
BATCH = 256
WARM = 301  # seconds until every window is full
TRADES = 5_000_000
SYMBOLS = 20


class Ours:
    """The families over the tape, as the engine drives them. Keeps the vectors of its last run."""

    def __init__(self, given: _tape.Tape, batch: int | None) -> None:
        self.rows, self.batch = _tape.rows_of(given), batch
        self.words = as_words(self.rows)
        self.touch = np.zeros((len(self.words), TOUCH_WORDS), np.int64)
        self.seconds = int(given.second[-1]) + 1
        at_ns = _tape.START_NS + SECOND_NS * np.arange(1, self.seconds + 1)
        self.stops = np.searchsorted(self.words[:, 0], at_ns).tolist()
        self.vectors = np.zeros((0, 0))

    def prepare(self) -> Callable[[], int]:
        """Cold states, and the work."""
        chosen = FeatureSet(_tape.settings())
        states, ladder = chosen.init(_tape.INSTRUMENTS), books.init(_tape.SYMBOLS)
        n = _tape.SYMBOLS
        outs = [np.zeros((n, len(family.specs(given)))) for _, family, given in chosen.families]
        parts = [
            (family.scan, family.close, state, out)
            for (_, family, _), state, out in zip(chosen.families, states, outs, strict=True)
        ]
        columns = list(chosen.layout.columns(_tape.NAMES))
        vectors = np.full((self.seconds, n, len(chosen.layout)), np.nan)
        words, touch, batch = self.words, self.touch, self.batch

        def work() -> int:
            boundary, lo = _tape.START_NS, 0
            for second, stop in enumerate(self.stops):
                boundary += SECOND_NS
                edges = [lo, stop] if batch is None else [*range(lo, stop, batch), stop]
                for a, b in pairwise(edges):
                    for scan, _, state, _ in parts:
                        scan(words, touch, a, b, state)
                at = 0
                for _, close, state, out in parts:
                    close(boundary, ladder, state, out)
                    vectors[second, :, at : at + out.shape[1]] = out
                    at += out.shape[1]
                lo = stop
            self.vectors = vectors[:, :, columns].transpose(1, 0, 2)  # a symbol after the other
            return len(words) - n

        return work


class Library:
    """A data frame library in a process of its own. Raises PeerError where it cannot be had."""

    def __init__(self, name: str, tape: Path, wanted: Callable[[], np.ndarray]) -> None:
        self.name, self._wanted = name, wanted
        self._out = tape.with_name(f"{name}.npy")
        package = Package("features_frames", LIBRARIES[name])
        python = environment(package)
        self._process = subprocess.Popen(
            [str(python), str(SCRIPTS / "features_frames.py"), name, str(tape), str(self._out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **THREADS, "POLARS_MAX_THREADS": "1"},
        )
        self._answer()

    def prepare(self) -> Callable[[], tuple[int, float]]:
        """A round: (trades, CPU seconds), the library's own numbers held to ours."""
        return self._round

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"cannot run: it ended with {self._process.wait(10)}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _round(self) -> tuple[int, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        taken = self._answer()["cpu_s"]
        ours = self._wanted()[:, WARM:]
        theirs = np.load(self._out).reshape(_tape.SYMBOLS, -1, len(_tape.NAMES))[:, WARM:]
        bad = ~np.isclose(ours, theirs, rtol=1e-6, atol=1e-6) & np.isfinite(ours)
        # Rolling float sums leave crumbs where hardly anything moved: a cell in 10,000 may differ.
        if bad.mean(axis=(0, 1)).max() > 1e-4:
            k = int(np.argmax(bad.sum(axis=(0, 1))))
            raise AssertionError(f"{self.name} disagrees on {_tape.NAMES[k]}: {int(bad.sum())}")
        return TRADES_DONE[0], taken

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


TRADES_DONE = [TRADES]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The engine behind the decoder, over the mix. `features` None: the books alone."""

    given: mix.Mix
    stage: str

    def prepare(self) -> Callable[[], int]:
        """A fresh session and engine."""
        shell = Shell(self.given, 256)
        instruments = self.given.instruments
        units = len(self.given.frames) - self.given.warmup
        batches = [*shell.first, *shell.rows()]  # decoded before: only the engine is measured
        shell.check()
        engine = Engine(instruments)

        def features() -> int:
            for rows in batches:
                engine.feed(rows)
            return units

        def whole() -> int:
            fresh = Shell(self.given, 256)
            for source in (fresh.first, fresh.rows()):
                for rows in source:
                    engine.feed(rows)
            return units

        def boundaries() -> int:
            for rows in batches[:40]:
                engine.feed(rows)
            for _ in range(200):
                engine._close(0, 0)
            return 200 * len(instruments)

        return {"engine": features, "whole": whole, "boundary": boundaries}[self.stage]


def _bytes_per_symbol() -> int:
    engine = Engine(_tape.INSTRUMENTS[:1])
    ladder = sum(array.nbytes for array in engine.ladder)
    states = FeatureSet().init(_tape.INSTRUMENTS[:1])
    arrays = [getattr(s, name) for s in states for name in s._fields if name != "params"]
    return ladder + sum(array.nbytes for array in arrays)


def main() -> None:
    given = arguments(__doc__)
    rounds = 3 if given.quick else 5
    trades = TRADES // 10 if given.quick else TRADES
    TRADES_DONE[0] = trades
    tape = _tape.tape(trades)
    batch = Ours(tape, None)
    contestants: dict[str, Contestant] = {
        "foreshock: streaming, 256 rows a call": Ours(tape, BATCH),
        "foreshock: batch, a second a call": batch,
    }
    results: dict[str, Figures] = {}
    libraries: list[Library] = []
    with TemporaryDirectory(prefix="foreshock-tape-") as place:
        path = Path(place) / "tape.npz"
        _tape.save(tape, path)
        for name in LIBRARIES:
            try:
                library = Library(name, path, lambda: batch.vectors)
            except PeerError as error:
                results[name] = {"ns_per_trade": str(error)}
                continue
            libraries.append(library)
            contestants[name] = library
        say(f"{len(_tape.NAMES)} features of {trades:,} trades, {_tape.SYMBOLS} symbols")
        rates = take_turns(contestants, rounds)
        for library in libraries:
            library.close()
    for name, (rate, spread) in rates.items():
        results[name] = {"ns_per_trade": 1e9 / rate, "spread": spread}
    frames = mix.make(SYMBOLS, 20 if given.quick else 60)
    told = take_turns(
        {
            "frames": Catalogue(frames, "whole"),
            "engine": Catalogue(frames, "engine"),
            "boundary": Catalogue(frames, "boundary"),
        },
        rounds,
    )
    width = len(FeatureSet().layout)
    results[f"catalogue of {width}: decode + book + features"] = {
        "frames_per_cpu_s": told["frames"][0],
        "ns_per_frame": 1e9 / told["frames"][0],
        "spread": told["frames"][1],
    }
    results[f"catalogue of {width}: book + features"] = {
        "frames_per_cpu_s": told["engine"][0],
        "ns_per_frame": 1e9 / told["engine"][0],
        "spread": told["engine"][1],
    }
    results[f"catalogue of {width}: a boundary of a symbol"] = {
        "us_per_symbol": 1e6 / told["boundary"][0],
        "spread": told["boundary"][1],
    }
    results["memory of a symbol, book and all families"] = {"KiB": _bytes_per_symbol() / 1024}
    ours = rates["foreshock: batch, a second a call"][0]
    ratios = {f"foreshock batch / {lib.name}": ours / rates[lib.name][0] for lib in libraries}
    streaming = 1e9 / rates["foreshock: streaming, 256 rows a call"][0]
    ratios["105 ns / streaming ns a trade"] = 105 / streaming
    ratios["catalogue frames/s / 100,000"] = told["frames"][0] / 100_000
    finish("features", given, results, ratios, "Features")


if __name__ == "__main__":
    sys.exit(main())
