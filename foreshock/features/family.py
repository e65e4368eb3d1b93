"""What a family of features is: a module with settings, specs and three kernels.

    FlowSettings, …             a section of parameters: windows, half-lives, thresholds
    specs(settings)             its features in the order of its columns
    init(instruments, settings) a cold `State`: a NamedTuple of arrays, symbols first, written in
                                place, whose first field `params` holds the parameters as arrays
    scan(words, touch, lo, hi, state)        advance by rows; only loops over `step`
    close(boundary_ns, ladder, state, out)   write out[s, k], float64, for every symbol and column,
                                             and open the next step

`step` sees one header row and its touch record, never the book; `close` may read the ladder, which
then stands exactly at the boundary. Both are pure functions of rows: no clock, no other process.
A family asks for nothing of another family, so that each compiles by itself and any may be left
out; what several need is a helper in market/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from foreshock.features.vector import FeatureSpec
from foreshock.market.instruments import Instrument
from foreshock.market.ladder import Ladder
from foreshock.market.rows import Words

RING_S: Final = 300  # the longest window that is made of one-second buckets
HOUR_S: Final = 3600  # the longest that is made of minutes (market/minutes.py)


class Family(Protocol):
    """See the head of this file."""

    def specs(self, settings: Any) -> tuple[FeatureSpec, ...]:
        """Its features in the order of its columns."""
        ...

    def init(self, instruments: Sequence[Instrument], settings: Any) -> Any:
        """A cold state."""
        ...

    def scan(self, words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: Any) -> None:
        """Advance by the rows lo <= i < hi; `lo` must be a header row."""
        ...

    def close(self, boundary_ns: int, ladder: Ladder, state: Any, out: NDArray[np.float64]) -> None:
        """Write every symbol's columns and open the next step."""
        ...


def _ascending(given: tuple[int, ...]) -> tuple[int, ...]:
    if list(given) != sorted(set(given)) or any(value <= 0 for value in given):
        raise ValueError(f"must ascend and be above zero, got {list(given)}")
    return given


def _within_the_ring(given: tuple[int, ...]) -> tuple[int, ...]:
    if given and given[-1] > RING_S:
        raise ValueError(f"at most {RING_S} s are kept in one-second buckets, got {given[-1]}")
    return given


def _seconds_or_minutes(given: tuple[int, ...]) -> tuple[int, ...]:
    wrong = [w for w in given if w > RING_S and (w % 60 or w > HOUR_S)]
    if wrong:
        raise ValueError(f"beyond {RING_S} s whole minutes up to {HOUR_S} s are kept, got {wrong}")
    return given


Ascending = Annotated[tuple[int, ...], AfterValidator(_ascending)]
Seconds = Annotated[Ascending, AfterValidator(_within_the_ring)]  # windows of one-second buckets
Windows = Annotated[Ascending, AfterValidator(_seconds_or_minutes)]  # of seconds or of minutes


def union(*windows: Iterable[int]) -> tuple[int, ...]:
    """All windows that any feature uses, ascending, each once."""
    return tuple(sorted({value for some in windows for value in some}))


def positions(wanted: Iterable[int], windows: Sequence[int]) -> NDArray[np.int64]:
    """Where each wanted window is in `windows`, int64."""
    return np.array([windows.index(value) for value in wanted], np.int64)


def integers(values: Iterable[int]) -> NDArray[np.int64]:
    """A parameter array."""
    return np.array(list(values), np.int64)


def span(seconds: int) -> str:
    """A window as names say it: 90 → 90s, 300 → 5m, 3600 → 1h, 86400 → 24h. Below five minutes in
    seconds, so that the names of before stay."""
    if seconds < 300 or seconds % 60:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds < 3600 or seconds % 3600 else f"{seconds // 3600}h"
