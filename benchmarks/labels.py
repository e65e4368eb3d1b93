"""Triple-barrier labels: kernel and whole call, beside what is written first and the labelers that
the package index has.

Two random walks: bars with a touch after about 8 rows, ticks with one after about 8,000. Labels a
second of CPU time; MAE and MFE are stated apart, they come on top. A peer labels a shorter piece of
a walk of the same kind, in an environment and a process of its own, and its labels must be ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks._labelers import PACKAGES, Labeler
from benchmarks._peers import PeerError
from benchmarks.common import Contestant, Figures, arguments, finish, say, take_turns
from foreshock.labels.barriers import Labels, label_quotes
from foreshock.labels.excursion import excursions
from foreshock.labels.touch import first_touch, path_of
from foreshock.market.clock import SECOND_NS

Floats = NDArray[np.float64]
FAR_BPS = {"bars": 22.0, "ticks": 9.0}
SIGMA = {"bars": 1e-3, "ticks": 1e-5}


@dataclass(frozen=True, slots=True)
class Case:
    """A path and the labels asked of it."""

    begin: NDArray[np.int64]
    stop: NDArray[np.int64]
    price: Floats
    far_bps: float

    @property
    def levels(self) -> tuple[Floats, Floats]:
        """Upper and lower, (n,) each."""
        entry, far = self.price[self.begin], self.far_bps / 1e4
        return entry * (1 + far), entry * (1 - far)


def walk(rows: int, sigma: float, far_bps: float, horizon: int, labels: int) -> Case:
    """A seeded random walk; begins are sorted and asked for once, as they are in a dataset."""
    rng = np.random.default_rng(1)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, sigma, rows)))
    begin = 1 + np.sort(rng.permutation(rows - horizon - 1)[:labels])
    return Case(begin, begin + horizon, price, far_bps)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Touch index and label, the path summed up anew each time."""

    case: Case

    def prepare(self) -> Callable[[], int]:
        upper, lower = self.case.levels
        price = self.case.price

        def work() -> int:
            first_touch(self.case.begin, self.case.stop, upper, lower, path_of(price, price))
            return len(self.case.begin)

        return work


def _labelled(case: Case) -> Labels:
    """The whole call, on a path of one row a second."""
    times = np.arange(len(case.price)) * SECOND_NS
    bps = np.full(len(case.begin), case.far_bps)
    horizon_s = int(case.stop[0] - case.begin[0])
    return label_quotes(
        times[case.begin], bps, bps, times, case.price, case.price, horizon_s=horizon_s,
        latency_ms=0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whole:
    """`label_quotes`: checks, spans, censoring, outcomes and all."""

    case: Case

    def prepare(self) -> Callable[[], int]:
        return lambda: len(_labelled(self.case).label)


@dataclass(frozen=True, slots=True)
class Excursions:
    """MAE and MFE of labels that are there already."""

    case: Case

    def prepare(self) -> Callable[[], int]:
        labels, price = _labelled(self.case), self.case.price
        return lambda: len(excursions(labels, price, price).mfe_bps)


@dataclass(frozen=True, slots=True)
class NumpyScan:
    """Per label, numpy over its whole window: what is usually written first."""

    case: Case
    labels: int

    def prepare(self) -> Callable[[], int]:
        upper, lower = self.case.levels
        price, begin, stop = self.case.price, self.case.begin, self.case.stop

        def work() -> int:
            found = 0
            for i in range(self.labels):
                window = price[begin[i] : stop[i]]
                found += int(((window >= upper[i]) | (window <= lower[i])).argmax())
            return self.labels

        return work


def labelers(folder: Path, failed: dict[str, Figures]) -> dict[str, Labeler]:
    """The peers that can run, by the name of their line; the reason of each that cannot is put in
    `failed`. What labels a label at a time is asked for few of them."""
    cases = {
        ("bars", True): walk(200_000, SIGMA["bars"], FAR_BPS["bars"], 60, 199_000),
        ("bars", False): walk(200_000, SIGMA["bars"], FAR_BPS["bars"], 60, 2_000),
        ("ticks", True): walk(300_000, SIGMA["ticks"], FAR_BPS["ticks"], 50_000, 2_000),
        ("ticks", False): walk(300_000, SIGMA["ticks"], FAR_BPS["ticks"], 50_000, 300),
    }
    out: dict[str, Labeler] = {}
    for (kind, many), case in cases.items():
        upper, lower = case.levels
        _, up, down = first_touch(
            case.begin, case.stop, upper, lower, path_of(case.price, case.price)
        )
        file = folder / f"{kind}-{many}.npz"
        np.savez(
            file, price=case.price, begin=case.begin, far=case.far_bps / 1e4,
            horizon=case.stop[0] - case.begin[0],
        )  # fmt: skip
        for name in PACKAGES:
            if many != (name in ("vectorbt", "quantreo")):
                continue
            try:
                out[f"{name}, {kind}"] = Labeler(name, file, up.astype(np.float64) - down)
            except PeerError as error:
                failed[f"{name}, {kind}"] = {"labels_per_cpu_s": str(error)}
                say(f"{name}, {kind}: {error}")
    return out


def main() -> None:
    given = arguments(__doc__)
    small = 4 if given.quick else 1
    cases = {
        "bars": walk(1_000_000 // small, SIGMA["bars"], FAR_BPS["bars"], 60, 900_000 // small),
        "ticks": walk(
            5_000_000 // small, SIGMA["ticks"], FAR_BPS["ticks"], 200_000, 300_000 // small
        ),
    }
    contestants: dict[str, Contestant] = {}
    for name, case in cases.items():
        contestants |= {
            f"foreshock: touch and label, {name}": Kernel(case),
            f"foreshock: label_quotes, {name}": Whole(case),
            f"foreshock: MAE and MFE, {name}": Excursions(case),
            f"numpy scan of the window, {name}": NumpyScan(case, 20_000 if name == "bars" else 200),
        }
    results: dict[str, Figures] = {}
    with TemporaryDirectory() as folder:
        peers = labelers(Path(folder), results)
        rates = take_turns({**contestants, **peers}, 3 if given.quick else 7)
        for peer in peers.values():
            peer.stop()
    measured: dict[str, Figures] = {
        name: {"labels_per_cpu_s": rate, "spread": spread} for name, (rate, spread) in rates.items()
    }
    ratios = {
        f"touch and label / {other}": rates[f"foreshock: touch and label, {kind}"][0]
        / rates[other][0]
        for kind in cases
        for other in (f"numpy scan of the window, {kind}", *(f"{p}, {kind}" for p in PACKAGES))
        if other in rates
    }
    finish("labels", given, measured | results, ratios, "Labels")


if __name__ == "__main__":
    main()
