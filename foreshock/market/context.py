"""What other symbols did: the facts of every watcher at a boundary, gathered into context rows.

    boundary B closes in each watcher ──▶ facts_of(bill inputs) ──▶ Gatherer.offer(B, …)
    all have told, or B + GATHER_NS is over ──▶ Gatherer.publish(B) ──▶ Gathered.values_for(symbols)
    every watcher: Session.context(…) ──▶ CONTEXT rows, which the vector of B + 1 s looks back at

The gatherer reads no clock and knows no process: the Supervisor hosts it live, a pipeline hosts it
when it makes history. Who tells of a boundary after it was published is masked: its facts are
dropped and it gets no rows of itself. What is not known has no row, so that nothing is ever a
made-up zero. Which field means what is said in market/rows.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from foreshock.config import Section
from foreshock.errors import RowError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.rows import (
    ALL,
    CONTEXT,
    CONTEXT_DISPERSION,
    CONTEXT_FALLING,
    CONTEXT_LEADER,
    CONTEXT_MEAN,
    CONTEXT_RETURN_RANK,
    CONTEXT_RISING,
    CONTEXT_SECTOR_MEAN,
    CONTEXT_SECTOR_RANK,
    CONTEXT_VOLUME_RANK,
    Rows,
    empty_rows,
)

GATHER_NS: Final = 300 * MS_NS  # how long after a boundary the facts of it are waited for
LONGEST_WINDOW_S: Final = 300
MOST_LEADERS: Final = 8
_SLOTS: Final = LONGEST_WINDOW_S + 8  # seconds kept, and some that may be told early

# What a watcher tells of each of its symbols; NaN: not known. Names and units are those of the
# bill's inputs (engine/outcomes.py).
FACT: Final = np.dtype([("last", "<f8"), ("volatility_1s", "<f8"), ("volume_60s", "<f8")])
# What a watcher is told: one row of it for each value.
CONTEXT_VALUE: Final = np.dtype([("symbol", "<i4"), ("field", "<i4"), ("value", "<f8")])


class Sector(Section):
    """Base assets that move for the same reasons."""

    name: str = Field(description="What the sector is called.")
    assets: tuple[str, ...] = Field(description="Its base assets, as symbols begin with them.")


def _sector(name: str, assets: str) -> Sector:
    return Sector(name=name, assets=tuple(assets.split()))


# By what an asset is for. One that is in none of them has no sector.
_SECTORS: Final = (
    _sector("money", "BTC LTC BCH XRP XLM XMR DASH ZEC ETC"),
    _sector(
        "platform",
        "ETH SOL ADA AVAX DOT NEAR ATOM TRX APT SUI SEI TON ALGO EOS FTM HBAR ICP EGLD VET BNB",
    ),
    _sector("scaling", "MATIC POL ARB OP STRK IMX LRC SKL"),
    _sector("finance", "UNI AAVE MKR CRV COMP SNX SUSHI 1INCH LDO DYDX CAKE INJ"),
    _sector("meme", "DOGE SHIB 1000SHIB PEPE 1000PEPE FLOKI WIF BONK 1000BONK"),
    _sector("data", "LINK FIL GRT AR RNDR RENDER FET TAO OCEAN BAND"),
    _sector("play", "SAND MANA AXS GALA ENJ CHZ APE ILV"),
)


def _windows(given: tuple[int, ...]) -> tuple[int, ...]:
    if list(given) != sorted(set(given)) or not given:
        raise ValueError(f"must ascend and name at least one window, got {list(given)}")
    if given[0] <= 0 or given[-1] > LONGEST_WINDOW_S:
        raise ValueError(f"windows lie within 1 and {LONGEST_WINDOW_S} s, got {list(given)}")
    return given


class GatherSettings(Section):
    """What is gathered across symbols, and what counts as a surge there."""

    leaders: tuple[str, ...] = Field(
        default=("BTCUSDT", "ETHUSDT"),
        max_length=MOST_LEADERS,
        description="Symbols whose price every other symbol is told of.",
    )
    windows_s: Annotated[tuple[int, ...], AfterValidator(_windows)] = Field(
        default=(60, 300), description="Windows of the returns across symbols, seconds."
    )
    least_symbols: int = Field(
        default=3, ge=2, description="Fewer known symbols say nothing about a market."
    )
    surge_sigmas: float = Field(
        default=2.0,
        ge=0,
        description="A surge is a return of so many σ·√window, and no less than the floor.",
    )
    surge_floor_bps: float = Field(
        default=10.0, ge=0, description="A surge is a return of at least so many basis points."
    )
    quote: str = Field(
        default="USDT", description="What ends a symbol's name: what is in front is the base asset."
    )
    sectors: tuple[Sector, ...] = Field(
        default=_SECTORS, description="A base asset that is in none of them has no sector."
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        members = tuple(asset for sector in self.sectors for asset in sector.assets)
        for what, names in (("a leader", self.leaders), ("an asset of a sector", members)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"named twice as {what}: {twice}")
        return self

    def sector_of(self, symbol: str) -> str | None:
        """The sector of a symbol's base asset."""
        base = symbol.removesuffix(self.quote)
        return next((sector.name for sector in self.sectors if base in sector.assets), None)

    @property
    def digest(self) -> str:
        """8 hex digits of all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def context_rows(
    body: bytes, symbols: int, boundary_ns: int, known_ns: int, arrival_ns: int, seq: int
) -> Rows:
    """CONTEXT rows, numbered from `seq`, of CONTEXT_VALUE as bytes. `boundary_ns` is 0 for what is
    of no boundary, a slow series. Raises RowError where the bytes are no such values, or name a
    symbol that is neither ALL nor one of `symbols`."""
    if len(body) % CONTEXT_VALUE.itemsize:
        raise RowError(f"{len(body)} bytes are no whole number of context values")
    values = np.frombuffer(body, CONTEXT_VALUE)
    strange = (values["symbol"] < ALL) | (values["symbol"] >= symbols)
    if strange.any():
        raise RowError(f"context of {values[strange][0]}: there are {symbols} symbols")
    rows = empty_rows(len(values))
    rows["arrival_ns"], rows["seq"] = arrival_ns, seq + np.arange(len(values))
    rows["kind"], rows["symbol"] = CONTEXT, values["symbol"]
    rows["id"], rows["id2"] = known_ns, boundary_ns
    rows["a"], rows["b"] = values["field"], values["value"].copy().view(np.int64)
    return rows


def facts_of(bill_inputs: NDArray[np.void]) -> NDArray[np.void]:
    """FACT (n,) out of a boundary's bill inputs."""
    out = np.empty(len(bill_inputs), FACT)
    for name in FACT.names or ():
        out[name] = bill_inputs[name]
    return out


@dataclass(frozen=True)
class Gathered:
    """What is told of one boundary.

    boundary_ns  as of when
    of_all       CONTEXT_VALUE of ALL symbols
    fields       field numbers of `of_one`'s columns, int64 (f,)
    of_one       float64 (n, f), NaN unknown; a row for each symbol of `rows`
    rows         where each symbol is in `of_one`
    """

    boundary_ns: int
    of_all: NDArray[np.void]
    fields: NDArray[np.int64]
    of_one: NDArray[np.float64]
    rows: Mapping[str, int]

    def values_for(self, symbols: Sequence[str]) -> NDArray[np.void]:
        """CONTEXT_VALUE for a watcher: of all, and of its own symbols under their position in
        `symbols`. Symbols that nobody knows here have none."""
        mine = np.array([self.rows.get(symbol, -1) for symbol in symbols], np.int64)
        known = np.flatnonzero(mine >= 0)
        told = self.of_one[mine[known]]
        at, column = np.nonzero(~np.isnan(told))
        own = np.empty(len(at), CONTEXT_VALUE)
        own["symbol"], own["field"] = known[at], self.fields[column]
        own["value"] = told[at, column]
        return np.concatenate([self.of_all, own])


class Gatherer:
    """Gathers the facts of `symbols`, boundary by boundary (whole seconds)."""

    def __init__(self, symbols: Iterable[str], settings: GatherSettings | None = None) -> None:
        self.settings = settings or GatherSettings()
        self.late = 0  # facts that came too late, by symbol and boundary
        self._published_ns = 0
        self._stamp = np.zeros(_SLOTS, np.int64)  # which boundary a slot is of
        self._index: dict[str, int] = {}
        self._facts = np.empty((_SLOTS, 0), FACT)
        self._heard = np.zeros((_SLOTS, 0), np.bool_)
        self.watch(symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Whose facts are waited for."""
        return tuple(self._index)

    def watch(self, symbols: Iterable[str]) -> None:
        """Wait for these symbols from now on; what is known of those that stay is kept."""
        names = list(dict.fromkeys(symbols))
        facts = np.full((_SLOTS, len(names)), np.nan, FACT)
        heard = np.zeros((_SLOTS, len(names)), np.bool_)
        for s, name in enumerate(names):
            if name in self._index:
                facts[:, s] = self._facts[:, self._index[name]]
                heard[:, s] = self._heard[:, self._index[name]]
        self._facts, self._heard = facts, heard
        self._index = {name: s for s, name in enumerate(names)}
        sectors = [self.settings.sector_of(name) for name in names]
        self._sectors = [
            np.array([s for s, of in enumerate(sectors) if of == sector], np.int64)
            for sector in dict.fromkeys(sectors)
            if sector is not None
        ]

    def offer(self, boundary_ns: int, symbols: Sequence[str], facts: NDArray[np.void]) -> bool:
        """Take the facts, FACT (n,), of one watcher's `symbols` at a boundary. False where that
        boundary is published already: they are dropped. Symbols that nobody waits for are too."""
        if boundary_ns <= self._published_ns:
            self.late += len(symbols)
            return False
        slot = self._slot(boundary_ns)
        if self._stamp[slot] != boundary_ns:
            self._stamp[slot] = boundary_ns
            self._facts[slot] = np.nan
            self._heard[slot] = False
        for symbol, fact in zip(symbols, facts, strict=True):
            at = self._index.get(symbol, -1)
            if at >= 0:
                self._facts[slot, at], self._heard[slot, at] = fact, True
        return True

    def complete(self, boundary_ns: int) -> bool:
        """Whether all symbols have told of it."""
        slot = self._slot(boundary_ns)
        return bool(self._stamp[slot] == boundary_ns and self._heard[slot].all())

    def publish(self, boundary_ns: int) -> Gathered:
        """What is known of a boundary. From now on it is too late for facts of it, and of those
        before it."""
        self._published_ns = max(self._published_ns, boundary_ns)
        settings = self.settings
        price = self._prices(boundary_ns)
        of_all: list[tuple[int, int, float]] = []
        for k, leader in enumerate(settings.leaders):
            at = self._index.get(leader, -1)
            if at >= 0 and not isnan(price[at]):
                of_all.append((ALL, CONTEXT_LEADER + k, float(price[at])))
        fields: list[int] = []
        columns: list[NDArray[np.float64]] = []
        for k, window_s in enumerate(settings.windows_s):
            before_ns = boundary_ns - window_s * SECOND_NS
            returns = np.log(price / self._prices(before_ns))
            sigma = self._column(before_ns, "volatility_1s")
            of_all += [(ALL, base + k, value) for base, value in self._market(returns, sigma, k)]
            fields += [base + k for base in _OF_ONE]
            mean, sector_rank = self._of_sectors(returns)
            columns += [self._rank(returns), mean, sector_rank]
        fields.append(CONTEXT_VOLUME_RANK)
        volume = np.where(~np.isnan(price), self._column(boundary_ns, "volume_60s"), np.nan)
        columns.append(self._rank(volume))
        return Gathered(
            boundary_ns,
            np.array(of_all, CONTEXT_VALUE),
            np.array(fields, np.int64),
            np.stack(columns, axis=1),
            dict(self._index),
        )

    def alone(self, boundary_ns: int, bill_inputs: NDArray[np.void]) -> bytes:
        """Where one process watches all of `symbols`: `offer` and `publish` of its boundary; what
        `Session.context` or `context_rows` take."""
        self.offer(boundary_ns, self.symbols, facts_of(bill_inputs))
        return self.publish(boundary_ns).values_for(self.symbols).tobytes()

    def _slot(self, boundary_ns: int) -> int:
        return boundary_ns // SECOND_NS % _SLOTS

    def _column(self, boundary_ns: int, name: str) -> NDArray[np.float64]:
        """A fact of all symbols at a boundary, NaN where it is not known."""
        slot = self._slot(boundary_ns)
        if self._stamp[slot] != boundary_ns:
            return np.full(len(self._index), np.nan)
        out: NDArray[np.float64] = self._facts[slot][name].copy()
        return out

    def _prices(self, boundary_ns: int) -> NDArray[np.float64]:
        price = self._column(boundary_ns, "last")
        price[~np.isfinite(price) | (price <= 0)] = np.nan
        return price

    def _market(
        self, returns: NDArray[np.float64], sigma: NDArray[np.float64], k: int
    ) -> list[tuple[int, float]]:
        """(field base, value) of the whole market over the k-th window. `sigma` is as of the
        window's beginning; where it is not known the floor alone decides."""
        known = ~np.isnan(returns)
        if known.sum() < self.settings.least_symbols:
            return []
        moved = returns[known]
        sigmas = np.nan_to_num(sigma[known], nan=0.0)
        barrier = np.maximum(
            self.settings.surge_sigmas * sigmas * sqrt(self.settings.windows_s[k]),
            self.settings.surge_floor_bps * 1e-4,
        )
        return [
            (CONTEXT_MEAN, float(moved.mean())),
            (CONTEXT_DISPERSION, float(moved.std())),
            (CONTEXT_RISING, float((moved >= barrier).mean())),
            (CONTEXT_FALLING, float((moved <= -barrier).mean())),
        ]

    def _rank(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if np.count_nonzero(~np.isnan(values)) < self.settings.least_symbols:
            return np.full(len(values), np.nan)
        return ranked(values)

    def _of_sectors(
        self, returns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(mean return of the others of its sector, rank within it) of each symbol."""
        mean, rank = np.full_like(returns, np.nan), np.full_like(returns, np.nan)
        for members in self._sectors:
            known = members[~np.isnan(returns[members])]
            if len(known) < 2:
                continue
            moved = returns[known]
            mean[known] = (moved.sum() - moved) / (len(known) - 1)
            rank[known] = ranked(moved)
        return mean, rank


_OF_ONE: Final = (CONTEXT_RETURN_RANK, CONTEXT_SECTOR_MEAN, CONTEXT_SECTOR_RANK)


def ranked(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each known value among the known ones: 0 the least, 1 the most, equal ones in
    their middle, float64 (n,); NaN stays NaN, and one alone has no rank."""
    out = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if len(known) > 1:
        order = np.sort(values[known])
        below = np.searchsorted(order, values[known], side="left")
        above = np.searchsorted(order, values[known], side="right")
        out[known] = (below + above - 1) / (2 * (len(known) - 1))
    return out
