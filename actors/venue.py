"""What a venue lists, over REST: its instruments, and what a selection of symbols looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from actors.plan import is_loopback
from foreshock.errors import InstrumentError, VenueError
from foreshock.market.instruments import SPOT, USDM, Instrument, by_symbol
from foreshock.market.selection import Candidate, listed_by_binance, with_tickers
from foreshock.venues.registry import venue_of

CONNECT_TIMEOUT_S: Final = 4.0
READ_TIMEOUT_S: Final = 15.0
# Path of the 24-hour tickers and their weight; USD-M tells the touch elsewhere.
_TICKERS: Final = {
    SPOT: (("/api/v3/ticker/24hr", 80),),
    USDM: (("/fapi/v1/ticker/24hr", 40), ("/fapi/v1/ticker/bookTicker", 5)),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a venue said: the answer as it came, its instruments by symbol, and what may be selected
    (of Binance's markets; other venues stand in for what was selected there)."""

    body: bytes
    instruments: dict[str, Instrument]
    candidates: list[Candidate]


def fetch_listing(market: str, rest_url: str | None = None, tickers: bool = False) -> Listing:
    """Ask `rest_url`, or the market's public address. With `tickers` volume, spread and volatility
    are known too.

    Raises VenueError where nobody answers and InstrumentError where the answer makes no sense."""
    venue = venue_of(market)
    wire = venue.wire()
    asked = wire.instruments()
    base = rest_url or wire.rest_url
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with httpx.Client(timeout=timeout, trust_env=not is_loopback(base)) as client:
            body = _get(client, base + asked.path, asked.params)
            said = [_json(client, base + p) for p, _ in (_TICKERS[market] if tickers else ())]
        instruments = by_symbol(venue.instruments(body))
        candidates = []
        if market in _TICKERS:
            listed = listed_by_binance(orjson.loads(body))
            candidates = [c for c in listed if c.symbol in instruments]
    except httpx.HTTPError as error:
        raise VenueError(f"{base} does not answer: {error or type(error).__name__}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstrumentError(f"{base} does not say what it lists: {error}") from error
    merged: dict[str, dict[str, Any]] = {}
    for tickers_said in said:
        for one in tickers_said:
            merged.setdefault(one["symbol"], {}).update(one)
    return Listing(body, instruments, with_tickers(candidates, list(merged.values())))


def listing_weight(market: str, tickers: bool) -> int:
    """What `fetch_listing` costs of the weight of a minute."""
    asked = sum(weight for _, weight in _TICKERS[market]) if tickers else 0
    return venue_of(market).wire().instruments().weight + asked


def _get(client: httpx.Client, url: str, params: Mapping[str, str | int] | None = None) -> bytes:
    answer = client.get(url, params=dict(params or {}))
    answer.raise_for_status()
    return answer.content


def _json(client: httpx.Client, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(_get(client, url))
    return found


def fetch_instruments(market: str, rest_url: str | None = None) -> list[Instrument]:
    """Every instrument that the market lists. Raises as `fetch_listing`."""
    return list(fetch_listing(market, rest_url).instruments.values())
