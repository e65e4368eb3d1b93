"""REST answers beside depth, aggTrades and exchangeInfo: bars, tickers, funding, open interest,
ratios, as the venue writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from foreshock.market.clock import MS_NS
from foreshock.market.instruments import USDM
from foreshock.simulation import state
from foreshock.simulation.bars import MINUTE_NS, Bar
from foreshock.simulation.derived import Derived

if TYPE_CHECKING:
    from foreshock.simulation.exchange import SimulatedExchange

FIVE_NS: Final = 5 * MINUTE_NS
RATIOS: Final = {
    "globalLongShortAccountRatio": 0,
    "topLongShortAccountRatio": 1,
    "topLongShortPositionRatio": 2,
    "takerlongshortRatio": 3,
}

_Answer = Callable[["SimulatedExchange", Derived, int, int], Any]


def rest_answer(
    exchange: SimulatedExchange, derived: Derived, path: str, rows: Sequence[int], one: bool,
    limit: int, start_ms: int = 0,
) -> bytes | None:  # fmt: skip
    """The body for a path and the rows of the symbols asked for; None where nothing is there.
    `one`: a symbol was named, so that an answer that is a list by symbol is a single object."""
    usdm = exchange.settings.market == USDM
    short = path.rpartition("/")[2]
    if short == "klines" and one:
        return orjson.dumps(_klines(exchange, derived, rows[0], limit, start_ms))
    if usdm and short in RATIOS and one:
        return orjson.dumps(_ratios(exchange, derived, rows[0], short, limit))
    if usdm and short == "fundingRate":
        return orjson.dumps([e for s in rows for e in _funding(exchange, derived, s, limit, one)])
    by_symbol: dict[str, _Answer] = {"24hr": _day, "bookTicker": _touch}
    if usdm:
        by_symbol |= {"premiumIndex": _premium, "openInterest": _interest}
    make = by_symbol.get(short)
    if make is None or (short == "openInterest" and not one):
        return None
    told = [make(exchange, derived, s, exchange.now_ns) for s in rows]
    return orjson.dumps(told[0] if one else told)


def _klines(
    exchange: SimulatedExchange, derived: Derived, s: int, limit: int, start_ms: int
) -> list[list[Any]]:
    """One-minute bars: the latest, or with `start_ms` the first from there on. The one in the
    making is the last; in front of those since the exchange began there is an invented day."""
    bars = [*derived.past(s), *derived.bars[s]]
    now_ns = exchange.now_ns // MINUTE_NS * MINUTE_NS
    if bars and bars[-1].open_ns < now_ns:
        bars.append(Bar(now_ns, bars[-1].close))  # no trade yet
    limit = max(1, min(1500, limit))
    if start_ms:
        bars = [bar for bar in bars if bar.open_ns >= start_ms * MS_NS][:limit]
    out = []
    for bar in bars[-limit:]:
        o, h, low, c, v, q, taker, taker_q = derived.bar_fields(s, bar)
        open_ms = bar.open_ns // MS_NS
        out.append([open_ms, o, h, low, c, v, open_ms + 59_999, q, bar.n, taker, taker_q, "0"])
    return out


def _ratios(
    exchange: SimulatedExchange, derived: Derived, s: int, short: str, limit: int
) -> list[dict[str, Any]]:
    last_ns = exchange.now_ns // FIVE_NS * FIVE_NS
    out = []
    for k in range(max(1, min(500, limit)) - 1, -1, -1):
        at_ns = last_ns - k * FIVE_NS
        ratio = derived.ratio(s, at_ns, RATIOS[short])
        told: dict[str, Any]
        if short == "takerlongshortRatio":
            told = {"buySellRatio": f"{ratio:.4f}", "sellVol": "1000.0",
                    "buyVol": f"{1000 * ratio:.4f}"}  # fmt: skip
        else:
            long = ratio / (1 + ratio)
            told = {"symbol": exchange.symbols[s], "longShortRatio": f"{ratio:.4f}",
                    "longAccount": f"{long:.4f}", "shortAccount": f"{1 - long:.4f}"}  # fmt: skip
        out.append(told | {"timestamp": at_ns // MS_NS})
    return out


def _funding(
    exchange: SimulatedExchange, derived: Derived, s: int, limit: int, one: bool
) -> list[dict[str, Any]]:
    """Settled rates, oldest first: of one symbol `limit` of them, else the last of each."""
    every_ns = derived.settings.funding_interval_s * 1_000_000_000
    last_ns = derived.next_funding_ns(exchange.now_ns) - every_ns
    n = max(1, min(1000, limit)) if one else 1
    return [
        {
            "symbol": exchange.symbols[s],
            "fundingTime": (last_ns - k * every_ns) // MS_NS,
            "fundingRate": f"{derived.funding(s, last_ns - k * every_ns):.8f}",
            "markPrice": f"{derived.mid(s):.8f}",
        }
        for k in range(n - 1, -1, -1)
    ]


def _premium(exchange: SimulatedExchange, derived: Derived, s: int, now_ns: int) -> dict[str, Any]:
    mid, settled_ns = derived.mid(s), derived.next_funding_ns(now_ns)
    mark = mid * (1 + 1e-4 * derived.premium_bps(s, now_ns))
    return {
        "symbol": exchange.symbols[s],
        "markPrice": f"{mark:.8f}",
        "indexPrice": f"{mid:.8f}",
        "estimatedSettlePrice": f"{mid:.8f}",
        "lastFundingRate": f"{derived.funding(s, settled_ns):.8f}",
        "interestRate": "0.00010000",
        "nextFundingTime": settled_ns // MS_NS,
        "time": now_ns // MS_NS,
    }


def _interest(exchange: SimulatedExchange, derived: Derived, s: int, now_ns: int) -> dict[str, Any]:
    return {
        "symbol": exchange.symbols[s],
        "openInterest": f"{derived.open_interest(s, now_ns):.3f}",
        "time": now_ns // MINUTE_NS * MINUTE_NS // MS_NS,
    }


def _touch(exchange: SimulatedExchange, derived: Derived, s: int, now_ns: int) -> dict[str, Any]:
    (bid, bid_lots), (ask, ask_lots) = (
        side[0].tolist() for side in exchange.book(exchange.symbols[s])
    )
    return {
        "symbol": exchange.symbols[s],
        "bidPrice": derived.decimal(s, bid, state.PRICE_UNITS),
        "bidQty": derived.decimal(s, bid_lots, state.LOT_UNITS),
        "askPrice": derived.decimal(s, ask, state.PRICE_UNITS),
        "askQty": derived.decimal(s, ask_lots, state.LOT_UNITS),
    }


def _day(exchange: SimulatedExchange, derived: Derived, s: int, now_ns: int) -> dict[str, Any]:
    """Of the bars that are kept; a symbol that never traded has its mid everywhere."""
    bars = list(derived.bars[s])[-1440:]
    touch = _touch(exchange, derived, s, now_ns)
    if bars:
        whole = Bar(bars[0].open_ns, bars[0].open)
        whole.high, whole.low = max(b.high for b in bars), min(b.low for b in bars)
        whole.close = bars[-1].close
        whole.lots, whole.turnover = sum(b.lots for b in bars), sum(b.turnover for b in bars)
        o, h, low, c, v, q, _, _ = derived.bar_fields(s, whole)
    else:
        o = h = low = c = touch["bidPrice"]
        v = q = "0"
    change = float(np.log(float(c) / float(o)) * 100)
    del touch["symbol"]
    return {
        "symbol": exchange.symbols[s],
        "priceChangePercent": f"{change:.3f}",
        "lastPrice": c,
        "openPrice": o,
        "highPrice": h,
        "lowPrice": low,
        "volume": v,
        "quoteVolume": q,
        **touch,
        "count": sum(b.n for b in bars),
        "closeTime": now_ns // MS_NS,
    }
