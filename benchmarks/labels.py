"""Triple-barrier labels: kernel and whole call, beside scans that look at every row.

Two random walks: bars with a touch after about 5 rows, ticks with one after about 8,000. Labels a
second of CPU time; MAE and MFE are stated apart, they come on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Contestant, Figures, arguments, finish, missing, take_turns
from foreshock.labels.barriers import Labels, label_quotes
from foreshock.labels.excursion import excursions
from foreshock.labels.touch import first_touch, path_of
from foreshock.market.clock import SECOND_NS

Floats = NDArray[np.float64]
PEERS = ("vectorbt", "mlfinpy", "quantreo")


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
    """A seeded random walk; begins are sorted, as they are in a dataset."""
    rng = np.random.default_rng(1)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, sigma, rows)))
    begin = np.sort(rng.integers(0, rows - horizon - 1, labels))
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


def main() -> None:
    given = arguments(__doc__)
    small = 4 if given.quick else 1
    cases = {
        "bars": walk(1_000_000 // small, 1e-3, 22.0, 60, 900_000 // small),
        "ticks": walk(5_000_000 // small, 1e-5, 9.0, 200_000, 300_000 // small),
    }
    contestants: dict[str, Contestant] = {}
    for name, case in cases.items():
        contestants |= {
            f"foreshock: touch and label, {name}": Kernel(case),
            f"foreshock: label_quotes, {name}": Whole(case),
            f"foreshock: MAE and MFE, {name}": Excursions(case),
            f"numpy scan of the window, {name}": NumpyScan(case, 20_000 if name == "bars" else 200),
        }
    rates = take_turns(contestants, 3 if given.quick else 7)
    results: dict[str, Figures] = {
        name: {"labels_per_cpu_s": rate, "spread": spread} for name, (rate, spread) in rates.items()
    }
    for peer in PEERS:
        if why := missing(peer):
            results[peer] = {"labels_per_cpu_s": why}
    ratios = {
        f"touch and label / numpy scan, {name}": rates[f"foreshock: touch and label, {name}"][0]
        / rates[f"numpy scan of the window, {name}"][0]
        for name in cases
    }
    finish("labels", given, results, ratios, "Labels")


if __name__ == "__main__":
    main()
