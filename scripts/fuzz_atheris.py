"""Coverage-guided damage: atheris looks for frames that take the decoder where none was before.

    python -m scripts.fuzz_atheris corpus/ -runs=500000 -max_len=600

It cannot see into compiled code, so compilation is off; each input is one frame that goes through
the decoder as plain Python and through its twin, and both must say the same. An index beyond the
buffer, an overflow and a difference all end it, as libFuzzer does. Atheris is no requirement of
ours: it needs an environment of its own.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ["NUMBA_DISABLE_JIT"] = "1"

import atheris

with atheris.instrument_imports(include=["foreshock.venues", "foreshock.market"]):
    import numpy as np

    from foreshock.venues.binance import BinanceSession

from scripts.fuzz_decoder import NOW, made
from tests.reference.frames import FrameTwin, lines_of

MATERIALS = [made("binance-usdm", "trade"), made("binance-spot", "aggTrade")]


def one_frame(data: bytes) -> None:
    """The first byte says which market; the rest is the frame."""
    if not data:
        return
    given, frame = MATERIALS[data[0] & 1], data[1:]
    session = BinanceSession(given.instruments, tape=given.tape)
    twin = FrameTwin(given.instruments, given.market, given.tape)
    session.start(NOW)
    twin.start()
    rows = session.receive([frame], np.array([NOW + 1]))
    outcome, lines = twin.read(frame, NOW + 1)
    if lines_of(rows) != lines or session.counts[outcome] != 1:
        raise AssertionError(f"{frame!r}: {session.counts} {lines_of(rows)}, {outcome} {lines}")


def seed_corpus(folder: Path) -> None:
    """A whole frame of each stream of each market, where the corpus is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return
    for market, given in enumerate(MATERIALS):
        for k, frame in enumerate(given.frames[:60]):
            (folder / f"{market}-{k}").write_bytes(bytes([market]) + frame)


def main() -> None:
    """Run it; ends by itself after `-runs` inputs."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        seed_corpus(Path(sys.argv[1]))
    # Wrapping around is what the hash of a symbol does on purpose.
    warnings.filterwarnings("ignore", "overflow encountered in scalar multiply")
    warnings.filterwarnings("error", category=RuntimeWarning, message="(?!.*multiply)")
    atheris.Setup(sys.argv, one_frame)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
