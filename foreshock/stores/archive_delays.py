"""Arrival of archive rows: modelled, since an archive holds the venue's time only.

The delay of an event is drawn from recorded delays, by a hash of (seed, symbol, time bucket): the
same row gets the same draw however a history is cut into files, days or batches, and trades of one
bucket, which one frame or one burst brought, come together. Arrival then never runs backwards.

The quantiles are of `arrival - trade time` in ms, measured on public recordings of real sockets:

near   one recorder beside the venue, March 2025: 10,000 trades each of TRXUSDT, spot (stamps in µs)
       and USD-M (in ms)
far    one a continent away, April and November 2021: 276 aggregate trades of USD-M pairs and 24 of
       spot pairs in two half-minutes: few, so that its tail is rough

A recorder's clock is part of what it measures. Whoever has recordings of one's own takes them:
`measured`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ArchiveError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import SPOT, USDM

LEVELS: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
# Rows wait for the slowest in front of them, so that many draws make a dense tape later than it was
# recorded: with buckets of 10 ms its p95 came out twice as late. With 100 ms the lower quantiles up
# to the median are met within 5 %, those above are up to half as late again: on the safe side.
BUCKET_NS: Final = 100 * MS_NS
_MS: Final[Mapping[tuple[str, str], tuple[float, ...]]] = {
    ("near", SPOT): (0.363, 0.834, 1.143, 1.816, 2.55, 5.842, 31.72, 119.7, 292.6, 300.3),
    ("near", USDM): (1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 10.0, 46.0, 167.0, 173.0),
    ("far", SPOT): (54.79, 54.79, 54.81, 55.72, 59.50, 66.06, 157.9, 203.9, 214.5, 215.7),
    ("far", USDM): (50.58, 50.96, 52.17, 122.1, 203.2, 217.6, 321.6, 537.6, 830.8, 868.7),
}


@dataclass(frozen=True, slots=True)
class Delays:
    """Quantiles of a delay: `levels` rise from 0 to 1, `ns` with them."""

    name: str
    levels: tuple[float, ...]
    ns: tuple[float, ...]

    def draw(self, event_ns: NDArray[np.int64], seed: int, symbol: str) -> NDArray[np.int64]:
        """A delay for each event, int64 ns, shape (n,): a pure function of its arguments, event by
        event."""
        digest = blake2b(f"{seed}:{symbol}".encode(), digest_size=8).digest()
        salt = np.uint64(int.from_bytes(digest, "little"))
        bucket = (np.asarray(event_ns, np.int64) // BUCKET_NS).astype(np.uint64)
        uniform = (_mixed(bucket + salt) >> np.uint64(11)).astype(np.float64) / 2**53
        drawn: NDArray[np.int64] = np.interp(uniform, self.levels, self.ns).astype(np.int64)
        return drawn

    def arrivals(
        self, event_ns: NDArray[np.int64], seed: int, symbol: str, not_before_ns: int = 0
    ) -> NDArray[np.int64]:
        """Arrival of events in order, never running backwards nor before `not_before_ns` (the last
        arrival of the batch in front)."""
        if not len(event_ns):
            return np.zeros(0, np.int64)
        raw = event_ns + self.draw(event_ns, seed, symbol)
        raw[0] = max(int(raw[0]), not_before_ns)
        return np.maximum.accumulate(raw)


def recorded(name: str, market: str) -> Delays:
    """The delays called "near" or "far" of a market; USD-M's where the market has none of its own.
    Raises ArchiveError on another name."""
    found = _MS.get((name, market)) or _MS.get((name, USDM))
    if found is None:
        raise ArchiveError("delays", f"{name!r} is neither near nor far")
    return Delays(name, LEVELS, tuple(ms * MS_NS for ms in found))


def measured(name: str, arrival_ns: NDArray[Any], event_ns: NDArray[Any]) -> Delays:
    """The delays of a recording's own rows. Raises ArchiveError where the recorder's clock ran
    behind the venue's by more than half of them say, or there are fewer than 100 rows."""
    delay = np.asarray(arrival_ns, np.int64) - np.asarray(event_ns, np.int64)
    if len(delay) < 100 or float(np.median(delay)) <= 0:
        what = f"{len(delay)} rows" if len(delay) < 100 else "a clock behind the venue's"
        raise ArchiveError("delays", f"delays cannot be measured from {what}")
    ns = np.maximum(np.quantile(delay, LEVELS), 0.0)
    return Delays(name, LEVELS, tuple(float(value) for value in ns))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
