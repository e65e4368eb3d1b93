"""The past that an audited market is given at once, as REST and slow series would tell it: without
it most of what looks back hours, days or a month would never be known, and nothing proved of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock.market.clock import MS_NS, SECOND_NS

if TYPE_CHECKING:
    from foreshock.features.settings import FeatureSettings
    from foreshock.market.rows import Rows

MINUTE_NS: Final = 60 * SECOND_NS
HOURS: Final = 290  # of candles: the slowest average looks back 200 of an hour
PAGE: Final = 1_000
INTEREST_H: Final = 26
DAYS: Final = 120  # of slow series


def past(
    exchange: Any, tap: Any, symbols: Iterable[str], seed: int, features: FeatureSettings
) -> Iterator[Rows]:
    """Rows of `symbols` through `tap`: candles, on USD-M settled funding, open interest and ratios,
    and a value a day of every slow series."""
    from foreshock.market.instruments import SPOT

    at_ns = exchange.now_ns
    for symbol in symbols:
        instrument = next(i for i in exchange.instruments() if i.symbol == symbol)
        rng = np.random.default_rng([seed, *symbol.encode()])
        yield from _candles(exchange, tap, instrument, rng, at_ns)
        if instrument.market != SPOT:
            yield from _positions(exchange, tap, symbol, rng, at_ns)
    yield from _series(tap, np.random.default_rng(seed), features, at_ns)


def _candles(exchange: Any, tap: Any, instrument: Any, rng: Any, at_ns: int) -> Iterator[Rows]:
    from foreshock.venues.binance_wire import BARS_KIND

    symbol, places = instrument.symbol, instrument.tick_decimals
    levels, _ = exchange.book(symbol)
    n, last = 60 * HOURS + 1, int(levels[0, 0])  # the last is in the making, and left out
    logs = np.cumsum(rng.normal(0.0, 8e-4, n + 1))
    walk = np.maximum(50, last * np.exp(logs - logs[-1])).astype(np.int64)
    reach = rng.integers(0, np.maximum(2, walk[:-1] // 2_000))
    lots = rng.integers(1, 10_000, n)
    first_ms = (at_ns // MINUTE_NS - n + 1) * 60_000

    def price(ticks: int) -> str:
        return f"{ticks * instrument.tick_units / 10**places:.{places}f}"

    def size(k: int) -> str:
        decimals = instrument.lot_decimals
        return f"{k * instrument.lot_units / 10**decimals:.{decimals}f}"

    told = []
    for k in range(n):
        o, c, r = int(walk[k]), int(walk[k + 1]), int(reach[k])
        opened, volume = first_ms + 60_000 * k, int(lots[k])
        told.append(
            [opened, price(o), price(max(o, c) + r), price(max(1, min(o, c) - r)), price(c),
             size(volume), opened + 59_999, "1.0", 5, size(volume // 3), "0.4", "0"]
        )  # fmt: skip
    for k in range(0, n, PAGE - 1):  # the last of a page may not be over, and begins the next
        body = json.dumps(told[k : k + PAGE]).encode()
        yield tap.receive_answer(BARS_KIND, symbol, body, at_ns)


def _positions(exchange: Any, tap: Any, symbol: str, rng: Any, at_ns: int) -> Iterator[Rows]:
    from foreshock.venues.binance_wire import FUNDING_KIND, OPEN_INTEREST_KIND, RATIO_PATHS

    def answer(path: str, limit: int) -> bytes | None:
        found: bytes | None = exchange.answer(path, {"symbol": symbol, "period": "5m"}, limit)
        return found

    body = answer("/fapi/v1/fundingRate", 100)
    if body is not None:
        yield tap.receive_answer(FUNDING_KIND, symbol, body, at_ns)
    interest = 1_000.0
    for k in range(12 * INTEREST_H, 0, -1):
        interest *= float(np.exp(rng.normal(0.0, 0.002)))
        said = {"symbol": symbol, "openInterest": f"{interest:.3f}",
                "time": at_ns // MS_NS - 300_000 * k}  # fmt: skip
        yield tap.receive_answer(OPEN_INTEREST_KIND, symbol, json.dumps(said).encode(), at_ns)
    for kind, path in RATIO_PATHS.items():
        ratios = json.loads(answer(path, 12 * INTEREST_H) or b"[]")
        for one in ratios:
            yield tap.receive_answer(kind, symbol, json.dumps([one]).encode(), at_ns)


def _series(tap: Any, rng: Any, features: FeatureSettings, at_ns: int) -> Iterator[Rows]:
    from foreshock.market.context import CONTEXT_VALUE
    from foreshock.market.rows import ALL, CONTEXT_SERIES

    names = features.series.names
    day_ns = 86_400 * SECOND_NS
    values = np.exp(np.cumsum(rng.normal(0.0, 0.02, (DAYS, len(names))), axis=0)) * 50.0
    body = np.zeros(len(names), CONTEXT_VALUE)
    body["symbol"], body["field"] = ALL, CONTEXT_SERIES + np.arange(len(names))
    for day in range(DAYS):
        body["value"] = values[day]
        of_ns = at_ns - (DAYS + 2 - day) * day_ns
        yield tap.context(of_ns, min(of_ns + day_ns, at_ns), body.tobytes(), at_ns)
    for hour in range(71, 0, -1):  # and then by the hour, for what looks back one
        body["value"] = values[-1] * (1.0 + 0.001 * rng.normal(size=len(names)))
        of_ns = at_ns - hour * 3_600 * SECOND_NS
        yield tap.context(of_ns, at_ns, body.tobytes(), at_ns)


def with_context(source: Iterable[Rows], tap: Any, features: FeatureSettings) -> Iterator[Rows]:
    """`source`, and behind every boundary what the symbols did there, told to all of them."""
    from foreshock.engine.step import Engine
    from foreshock.features.settings import FeatureSettings
    from foreshock.market.context import Gatherer

    instruments = list(tap.instruments)
    engine = Engine(instruments, FeatureSettings(families=("calendar",)))
    gatherer = Gatherer([i.symbol for i in instruments], features.context.gathered)
    for rows in source:
        yield rows
        for boundary in engine.feed(rows):
            at_ns = boundary.boundary_ns
            body = gatherer.alone(at_ns, boundary.bill_inputs)
            told = tap.context(at_ns, boundary.closed_at_ns, body, boundary.closed_at_ns)
            engine.feed(told)
            yield told
