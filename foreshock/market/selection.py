"""Which symbols are watched: a chain of filters over what the venue lists, and how it follows the
venue while running.

    chain: [{by: quote, assets: [USDT]}, {by: volume, least: 1e6}, {by: deny, pattern: "UP|DOWN"},
            {by: top, count: 200}]

Filters are data and apply in order; each symbol that falls out names the filter that dropped it.
What a venue does not tell about a symbol (its age on spot, its spread on USD-M) drops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import canonical_symbol
from foreshock.market.rows import DELISTED, HALTED, TRADING

DAY_NS: Final = 86_400 * SECOND_NS
_PERCENT: Final = 100.0
_BPS: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a listed symbol. None: the venue does not tell.

    status         TRADING, HALTED or DELISTED (market/rows.py)
    listed_ns      when trading began, UTC ns
    quote_volume   of 24 hours, in quote currency
    spread_bps     between best bid and ask
    volatility_pct high over low of 24 hours, in percent
    """

    symbol: str
    base: str
    quote: str
    status: int = TRADING
    listed_ns: int | None = None
    quote_volume: float | None = None
    spread_bps: float | None = None
    volatility_pct: float | None = None


class SymbolFilter(BaseModel):
    """One link of the chain.

    by quote       keep those priced in one of `assets`
    by volume, age, spread, volatility   keep `least` ≤ x ≤ `most` (24 h quote volume, days listed,
                   bps, percent high over low of 24 h)
    by allow, deny keep those whose whole symbol matches `pattern`, or does not
    by top         keep the `count` with the largest volume
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["quote", "volume", "age", "spread", "volatility", "allow", "deny", "top"]
    assets: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    count: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needs = {"quote": "assets", "allow": "pattern", "deny": "pattern", "top": "count"}
        if self.by in needs and not getattr(self, needs[self.by]):
            raise ValueError(f"a filter by {self.by} needs {needs[self.by]}")
        if self.by not in needs and self.least is None and self.most is None:
            raise ValueError(f"a filter by {self.by} needs least or most")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r}: {error}") from error
        return self

    @property
    def told(self) -> str:
        """In a word, for people: 'volume ≥ 1e+06'."""
        if self.by == "quote":
            return f"quote {'|'.join(self.assets)}"
        if self.by in ("allow", "deny"):
            return f"{self.by} {self.pattern}"
        if self.by == "top":
            return f"top {self.count}"
        bounds = [f"≥ {self.least:g}"] if self.least is not None else []
        return f"{self.by} " + " ".join(bounds + ([f"≤ {self.most:g}"] if self.most else []))


_MEASURES: Final[Mapping[str, Callable[[Candidate, int], float | None]]] = {
    "volume": lambda c, _: c.quote_volume,
    "age": lambda c, now: None if c.listed_ns is None else (now - c.listed_ns) / DAY_NS,
    "spread": lambda c, _: c.spread_bps,
    "volatility": lambda c, _: c.volatility_pct,
}


def _keeps(one: SymbolFilter, candidate: Candidate, now_ns: int) -> bool:
    if one.by == "quote":
        return candidate.quote in one.assets
    if one.by in ("allow", "deny"):
        matches = re.fullmatch(one.pattern, candidate.symbol) is not None
        return matches == (one.by == "allow")
    value = _MEASURES[one.by](candidate, now_ns)
    if value is None:
        return True
    return (one.least is None or value >= one.least) and (one.most is None or value <= one.most)


@dataclass(frozen=True, slots=True)
class Selection:
    """`symbols` in the venue's order (after `top`: the largest volume first), and why each other
    one is not among them."""

    symbols: tuple[str, ...]
    dropped: Mapping[str, str]


def select(
    candidates: Sequence[Candidate], chain: Sequence[SymbolFilter], now_ns: int
) -> Selection:
    """Those that trade and that every filter of the chain keeps."""
    dropped: dict[str, str] = {}
    kept: list[Candidate] = []
    for candidate in candidates:
        if candidate.status == TRADING:
            kept.append(candidate)
        else:
            dropped[candidate.symbol] = "not trading"
    for one in chain:
        if one.by == "top":
            by_volume = sorted(kept, key=lambda c: -(c.quote_volume or 0.0))
            stay = by_volume[: one.count]
        else:
            stay = [candidate for candidate in kept if _keeps(one, candidate, now_ns)]
        left = {candidate.symbol for candidate in stay}
        dropped |= {c.symbol: one.told for c in kept if c.symbol not in left}
        kept = stay
    return Selection(tuple(candidate.symbol for candidate in kept), dropped)


def named(wanted: Iterable[str], listed: Iterable[str]) -> tuple[str, ...]:
    """The listed symbols that these spellings mean (BTCUSDT, BTC/USDT, BTC/USDT:USDT …), each once,
    in the order asked for. Raises InstrumentError that names every unknown one and what is near."""
    known = list(listed)
    found: dict[str, None] = {}
    unknown: list[str] = []
    for text in wanted:
        symbol = canonical_symbol(text)
        if symbol in known:
            found[symbol] = None
            continue
        near = get_close_matches(symbol, known, n=1, cutoff=0.6)
        unknown.append(f"{text!r}" + (f" (did you mean {near[0]}?)" if near else ""))
    if unknown:
        raise InstrumentError(f"the venue does not list {', '.join(unknown)}")
    return tuple(found)


# What the venue says ------------------------------------------------------------------------------

_STATUS: Final = {"TRADING": TRADING, "DELISTED": DELISTED, "CLOSE": DELISTED, "SETTLING": DELISTED}


def listed_by_binance(body: Mapping[str, Any]) -> list[Candidate]:
    """Of an exchangeInfo answer, spot or USD-M perpetuals. Every status but TRADING, and those that
    mean the end, is a halt."""
    out = []
    for entry in body.get("symbols", []):
        if entry.get("contractType", "PERPETUAL") != "PERPETUAL":
            continue
        began_ms = entry.get("onboardDate")
        out.append(
            Candidate(
                symbol=entry["symbol"],
                base=entry.get("baseAsset", ""),
                quote=entry.get("quoteAsset", ""),
                status=_STATUS.get(entry.get("status", "TRADING"), HALTED),
                listed_ns=None if began_ms is None else int(began_ms) * MS_NS,
            )
        )
    return out


def with_tickers(
    candidates: Sequence[Candidate], tickers: Sequence[Mapping[str, Any]]
) -> list[Candidate]:
    """The same with what 24-hour tickers say of them."""
    said = {str(ticker.get("symbol")): ticker for ticker in tickers}
    out = []
    for candidate in candidates:
        ticker = said.get(candidate.symbol)
        out.append(candidate if ticker is None else _measured(candidate, ticker))
    return out


def _measured(candidate: Candidate, ticker: Mapping[str, Any]) -> Candidate:
    def number(name: str) -> float | None:
        try:
            value = float(ticker[name])
        except (KeyError, TypeError, ValueError):
            return None
        return value if value > 0 else None

    bid, ask = number("bidPrice"), number("askPrice")
    high, low = number("highPrice"), number("lowPrice")
    return replace(
        candidate,
        quote_volume=number("quoteVolume") or 0.0,
        spread_bps=None if not bid or not ask else (ask - bid) / (0.5 * (ask + bid)) * _BPS,
        volatility_pct=None if not high or not low else (high / low - 1.0) * _PERCENT,
    )


# Following it -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What happened between two lists, each in the order of the new one.

    listed     to be watched from now on
    gone       no longer listed, or listed as delisted: not watched any more
    halted     still watched, but not trading now
    resumed    trading again
    """

    listed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    halted: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listed or self.gone or self.halted or self.resumed)


def change(watched: Mapping[str, int], now: Sequence[Candidate], wanted: Sequence[str]) -> Change:
    """How the venue's new list changes what is watched.

    watched   symbol → status, as it was last known
    wanted    what the chain selects from the new list; a symbol that is watched already stays so
              whatever a filter says now: a book is not given up for a quiet day
    """
    status = {candidate.symbol: candidate.status for candidate in now}
    gone = tuple(s for s in watched if status.get(s, DELISTED) == DELISTED)
    stays = [s for s in watched if s not in gone]
    return Change(
        listed=tuple(s for s in wanted if s not in watched and status.get(s) == TRADING),
        gone=gone,
        halted=tuple(s for s in stays if status[s] == HALTED and watched[s] != HALTED),
        resumed=tuple(s for s in stays if status[s] == TRADING and watched[s] != TRADING),
    )
