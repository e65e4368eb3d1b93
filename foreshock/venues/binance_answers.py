"""Binance's REST answers → plain values: metrics of a symbol, and the venue's list of instruments.

They come a few times a minute, so Python's own JSON reads them. What is not what it must be raises
ValueError; the session counts and drops it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import Instrument, from_exchange_info
from foreshock.market.rows import (
    DELISTED,
    HALTED,
    METRIC_FUNDING_RATE,
    METRIC_LONG_SHORT_ACCOUNTS,
    METRIC_OPEN_INTEREST,
    METRIC_TAKER_BUY_SELL,
    METRIC_TOP_LONG_SHORT_ACCOUNTS,
    METRIC_TOP_LONG_SHORT_POSITIONS,
    TRADING,
)
from foreshock.venues.binance_fields import LATEST_MS


class Metric(NamedTuple):
    """One value of a slow series, as of `as_of_ns` by the venue."""

    symbol: str
    field: int
    as_of_ns: int
    value: float


# Of each kind of answer (binance_wire): the metric, the members that hold value and time.
_MEMBERS: Final = {
    "open_interest": (METRIC_OPEN_INTEREST, "openInterest", "time"),
    "long_short_accounts": (METRIC_LONG_SHORT_ACCOUNTS, "longShortRatio", "timestamp"),
    "top_long_short_accounts": (METRIC_TOP_LONG_SHORT_ACCOUNTS, "longShortRatio", "timestamp"),
    "top_long_short_positions": (METRIC_TOP_LONG_SHORT_POSITIONS, "longShortRatio", "timestamp"),
    "taker_buy_sell": (METRIC_TAKER_BUY_SELL, "buySellRatio", "timestamp"),
    "funding_rate": (METRIC_FUNDING_RATE, "fundingRate", "fundingTime"),
}
METRIC_KINDS: Final = frozenset(_MEMBERS)

# Of a bar: open, high, low, close, volume, what takers bought, turnover, what takers bought of it.
_BAR_NUMBERS: Final = (1, 2, 3, 4, 5, 9, 7, 10)
_NEAR: Final = 1e-3  # of a step: how far a decimal, read as float64, may lie from it

# A status that is not here has stopped for now: BREAK, HALT, SETTLING, PENDING_TRADING, …
_STATUS: Final = {"TRADING": TRADING, "CLOSE": DELISTED, "DELIVERED": DELISTED}


def metrics(kind: str, symbol: str, body: bytes) -> list[Metric]:
    """The values of an answer to a poll, oldest first. Entries that name no symbol are of `symbol`.
    Raises ValueError on rubbish."""
    field, value_name, time_name = _MEMBERS[kind]
    answer: Any = json.loads(body)
    entries = answer if isinstance(answer, list) else [answer]
    out = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{kind}: {entry!r} is no object")
        named = entry.get("symbol", symbol)
        value, as_of_ms = _number(entry.get(value_name)), int(_number(entry.get(time_name)))
        if not isinstance(named, str) or not 0 < as_of_ms <= LATEST_MS:
            raise ValueError(f"{kind}: {entry!r} names no symbol or no time")
        out.append(Metric(named, field, as_of_ms * MS_NS, value))
    return sorted(out, key=lambda metric: metric.as_of_ns)


def _number(value: Any) -> float:
    """A finite number, quoted or not. Raises ValueError."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def past_bars(body: bytes, instrument: Instrument) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(open_ms, close_ms and fills, int64 (n, 3); the pack words, int64 (n, 10)) of the minute bars
    of a klines answer, in the order of time, but for the last one, which may not be over. Bars off
    the instrument's grid, which was another one then, are left out. Raises ValueError on
    rubbish."""
    answer: Any = json.loads(body)
    if not isinstance(answer, list) or not all(
        isinstance(bar, list) and len(bar) >= 11 for bar in answer
    ):
        raise ValueError(f"no bars in {body[:80]!r}")
    head = np.array([[_whole(b[0]), _whole(b[6]), _whole(b[8])] for b in answer], np.int64)
    head = head.reshape(-1, 3)
    said = np.array([[b[k] for k in _BAR_NUMBERS] for b in answer], np.float64).reshape(-1, 8)
    if (np.diff(head[:, 0]) <= 0).any() or (head[:, 0] <= 0).any() or (head > LATEST_MS).any():
        raise ValueError("bars out of the order of time")
    if not np.isfinite(said).all():
        raise ValueError("a bar of no numbers")
    tick_decimals, tick_units, lot_decimals, lot_units = instrument.steps
    prices = said[:, :4] * 10.0**tick_decimals / tick_units
    sizes = said[:, 4:6] * 10.0**lot_decimals / lot_units
    fine = [np.abs(prices - np.rint(prices)) < _NEAR, prices > 0.5, prices < 2.0**52]
    fine += [sizes < 2.0**52, said >= 0]
    fits: NDArray[np.bool_] = np.logical_and.reduce(np.hstack(fine), axis=1)
    packs = np.empty((len(said), 10), np.int64)
    packs[:, :4] = np.rint(prices)
    packs[:, 4:6] = np.floor(sizes + _NEAR)  # lots were smaller when the bar began
    packs[:, 6:8] = np.ascontiguousarray(said[:, 6:]).view(np.int64)
    packs[:, 8:] = -1  # the answer names no trade ids
    fits[-1:] = False
    return head[fits], packs[fits]


def _whole(value: Any) -> int:
    """An integer that a row can hold. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no integer from zero")
    return value


def _entries(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer: Any = json.loads(body)
    symbols = answer.get("symbols") if isinstance(answer, dict) else None
    if not isinstance(symbols, list) or not all(isinstance(entry, dict) for entry in symbols):
        raise ValueError(f"no list of symbols in {body[:80]!r}")
    return answer, symbols


def cut_to(body: bytes, symbols: Container[str]) -> bytes:
    """An exchangeInfo answer with the entries of these symbols only. The whole one has megabytes:
    whoever fetched it cuts it before it goes to a watcher's loop. Raises ValueError on rubbish."""
    answer, entries = _entries(body)
    return json.dumps({**answer, "symbols": [e for e in entries if e.get("symbol") in symbols]}
                      ).encode()  # fmt: skip


def changes(body: bytes, known: Mapping[str, Instrument], market: str) -> Iterator[Instrument]:
    """The next version of each known instrument that an exchangeInfo answer says differently:
    another tick or lot size, halted, trading again, delisted (which is also what a renamed symbol
    is: its new name is a new instrument). Raises ValueError on rubbish, and on an answer that knows
    none of them."""
    _, entries = _entries(body)
    mine = {e["symbol"]: e for e in entries if e.get("symbol") in known}
    if not mine:
        raise ValueError("none of our symbols is in this list")
    try:
        told = {i.symbol: i for i in from_exchange_info({"symbols": list(mine.values())}, market)}
    except (InstrumentError, ArithmeticError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a list of instruments that cannot be read: {error}") from error
    for symbol, instrument in known.items():
        if symbol in told:
            status = _STATUS.get(str(mine[symbol].get("status", "TRADING")), HALTED)
            says = replace(told[symbol], status=status, version=instrument.version)
        else:
            status = HALTED if symbol in mine else DELISTED  # listed, but without tick or lot
            says = replace(instrument, status=status)
        if says != instrument:
            yield replace(says, version=instrument.version + 1)
