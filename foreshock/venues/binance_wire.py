"""How to ask Binance spot and USD-M futures: addresses, streams, polls, limits (venues/wire.py).

USD-M serves depth and bookTicker under /public, everything else under /market; the un-routed paths
accept a SUBSCRIBE and deliver nothing. Sources disagree on where raw `trade` lives: it is asked for
on both routes, of which one delivers; should both, the session drops the second copy by its id.
A cut of /public then breaks no tape epoch by itself: trade ids count up by one and show any loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import SPOT, USDM
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY
from foreshock.venues.wire import Request, Subscription

BOOK_STREAMS: Final = ("depth@100ms", "bookTicker")
BAR_STREAM: Final = "kline_1m"
MARK_STREAM: Final = "markPrice@1s"
LIQUIDATION_STREAM: Final = "forceOrder"

STREAMS_PER_SOCKET: Final = 1024
STREAMS_PER_MESSAGE: Final = 100  # the venue takes 5 messages a second and reads them slowly

OPEN_INTEREST_EVERY_S: Final = 60.0
# The ratios change every five minutes and share 1000 requests in five minutes an address: 700
# symbols asked four times in fifteen minutes stay below it.
RATIOS_EVERY_S: Final = 900.0
FUNDING_EVERY_S: Final = 600.0
INSTRUMENTS_EVERY_S: Final = 60.0

INSTRUMENTS_KIND: Final = "instruments"
FUNDING_KIND: Final = "funding_rate"
OPEN_INTEREST_KIND: Final = "open_interest"
RATIO_PATHS: Final = {
    "long_short_accounts": "/futures/data/globalLongShortAccountRatio",
    "top_long_short_accounts": "/futures/data/topLongShortAccountRatio",
    "top_long_short_positions": "/futures/data/topLongShortPositionRatio",
    "taker_buy_sell": "/futures/data/takerlongshortRatio",
}

BARS_KIND: Final = "bars"
BAR_PAGE: Final = {SPOT: 1000, USDM: 499}  # bars of a request that weighs 2
BARS_BACK: Final = 1500  # minutes: more than a day
MINUTE_MS: Final = 60_000
MINUTE_NS: Final = MINUTE_MS * MS_NS
FUNDINGS: Final = 100  # 33 days of them

# Weight of a depth request by its levels: what holds up to and with so many.
_DEPTH_WEIGHT: Final = {
    SPOT: ((100, 5), (500, 25), (1000, 50), (5000, 250)),
    USDM: ((50, 2), (100, 5), (500, 10), (1000, 20)),
}


def stream_kinds(market: str, tape: str) -> tuple[str, ...]:
    """What is subscribed of each symbol; a stream's name is `btcusdt@<kind>`."""
    if market == SPOT:
        return (*BOOK_STREAMS, tape, BAR_STREAM)
    return (*BOOK_STREAMS, tape, BAR_STREAM, MARK_STREAM, LIQUIDATION_STREAM)


def _messages(method: str, streams: Sequence[str]) -> tuple[str, ...]:
    """SUBSCRIBE or UNSUBSCRIBE in parts that the venue takes; ids count up from 1."""
    return tuple(
        json.dumps(
            {
                "method": method,
                "params": list(streams[k : k + STREAMS_PER_MESSAGE]),
                "id": k // STREAMS_PER_MESSAGE + 1,
            }
        )
        for k in range(0, len(streams), STREAMS_PER_MESSAGE)
    )


class BinanceWire:
    """The wire of Binance spot or USD-M futures."""

    heartbeat: tuple[float, str] | None = None  # the venue pings and any WebSocket library answers
    message_pause_s = 0.25
    lifetime_s = 24 * 3600.0
    connects_per_5min = 300

    def __init__(self, market: str) -> None:
        if market not in (SPOT, USDM):
            raise InstrumentError(f"{market!r} is no market of Binance's that we know")
        self.market = market
        spot = market == SPOT
        self.ws_url = "wss://stream.binance.com:9443" if spot else "wss://fstream.binance.com"
        self.rest_url = "https://api.binance.com" if spot else "https://fapi.binance.com"
        self._api = "/api/v3" if spot else "/fapi/v1"
        self.weight_per_minute = 6000 if spot else 2400

    def _routes(self, tape: str) -> tuple[tuple[str, tuple[str, ...], int], ...]:
        """(path, stream kinds, families) of each socket that a share of symbols needs."""
        kinds = stream_kinds(self.market, tape)
        if self.market == SPOT:
            return (("/stream", kinds, BOOK_FAMILY | TAPE_FAMILY),)
        public = kinds[:3] if tape == "trade" else BOOK_STREAMS
        return (
            ("/public/stream", public, BOOK_FAMILY),
            ("/market/stream", kinds[len(BOOK_STREAMS) :], TAPE_FAMILY),
        )

    def subscriptions(
        self, symbols: Sequence[str], tape: str, per_socket: int
    ) -> list[Subscription]:
        """All sockets for these symbols. A venue's 1024 streams a socket bound `per_socket` too."""
        out = []
        for path, kinds, families in self._routes(tape):
            share = max(1, min(per_socket, STREAMS_PER_SOCKET // len(kinds)))
            for k in range(0, len(symbols), share):
                part = tuple(symbols[k : k + share])
                streams = tuple(f"{symbol.lower()}@{kind}" for symbol in part for kind in kinds)
                out.append(
                    Subscription(path, _messages("SUBSCRIBE", streams), streams, families, part)
                )
        return out

    def snapshot(self, symbol: str, levels: int) -> Request:
        """The depth request: its weight grows with the levels."""
        weight = next(
            (cost for most, cost in _DEPTH_WEIGHT[self.market] if levels <= most),
            _DEPTH_WEIGHT[self.market][-1][1],
        )
        return Request(
            "snapshot", symbol, f"{self._api}/depth", {"symbol": symbol, "limit": levels}, weight
        )

    def resubscribe(self, subscription: Subscription, streams: Sequence[str]) -> tuple[str, ...]:
        """Drop and take again; streams that this socket does not carry are left out."""
        mine = [stream for stream in streams if stream in subscription.streams]
        return _messages("UNSUBSCRIBE", mine) + _messages("SUBSCRIBE", mine)

    def instruments(self) -> Request:
        """exchangeInfo of the whole market."""
        weight = 20 if self.market == SPOT else 1
        path = f"{self._api}/exchangeInfo"
        return Request(INSTRUMENTS_KIND, "", path, {}, weight, INSTRUMENTS_EVERY_S)

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """USD-M: open interest and the four ratios of each symbol, settled funding of all at once.
        Spot has none of them."""
        if self.market == SPOT:
            return []
        funding = f"{self._api}/fundingRate"
        out = [Request(FUNDING_KIND, "", funding, {"limit": 1000}, 1, FUNDING_EVERY_S)]
        interest = f"{self._api}/openInterest"
        for symbol in symbols:
            out.append(
                Request(
                    OPEN_INTEREST_KIND, symbol, interest, {"symbol": symbol}, 1,
                    OPEN_INTEREST_EVERY_S,
                )
            )  # fmt: skip
            asked: dict[str, str | int] = {"symbol": symbol, "period": "5m", "limit": 1}
            for kind, path in RATIO_PATHS.items():
                out.append(Request(kind, symbol, path, asked, 0, RATIOS_EVERY_S))
        return out

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """USD-M: the settled funding of a month. Then the minute bars of a day and more, in pages
        of what costs least a bar."""
        out = []
        if self.market != SPOT:
            for symbol in symbols:
                asked: dict[str, str | int] = {"symbol": symbol, "limit": FUNDINGS}
                out.append(Request(FUNDING_KIND, symbol, f"{self._api}/fundingRate", asked, 1))
        page, path = BAR_PAGE[self.market], f"{self._api}/klines"
        first_ms = (venue_ns // MINUTE_NS - BARS_BACK) * MINUTE_MS
        for symbol in symbols:
            asked = {"symbol": symbol, "interval": "1m", "startTime": first_ms, "limit": page}
            out.append(Request(BARS_KIND, symbol, path, asked, 2))
        return out

    def later(self, request: Request, body: bytes) -> Request | None:
        """Bars: behind a full page the next one, which begins with its last bar again, because a
        bar that ends an answer may not be over."""
        if request.kind != BARS_KIND:
            return None
        answer: Any = json.loads(body)
        if not isinstance(answer, list) or len(answer) < BAR_PAGE[self.market]:
            return None
        last_ms = answer[-1][0] if isinstance(answer[-1], list) and answer[-1] else None
        if not isinstance(last_ms, int) or last_ms <= int(request.params["startTime"]):
            raise ValueError(f"no bar behind the first: {answer[-1]!r:.80}")
        return replace(request, params={**request.params, "startTime": last_ms})

    def time(self) -> Request:
        """The venue's clock."""
        return Request("time", "", f"{self._api}/time")

    def venue_ns(self, body: bytes) -> int:
        """Of `{"serverTime":1700000000000}`. Raises ValueError on anything else."""
        answer: Any = json.loads(body)
        stamp_ms = answer.get("serverTime") if isinstance(answer, dict) else None
        if not isinstance(stamp_ms, int) or isinstance(stamp_ms, bool) or stamp_ms <= 0:
            raise ValueError(f"no serverTime in {body[:80]!r}")
        return stamp_ms * 1_000_000

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """Of X-MBX-USED-WEIGHT-1M, however it is spelled."""
        for name, value in headers.items():
            if name.lower() == "x-mbx-used-weight-1m":
                return int(value) if value.isdigit() else None
        return None
