"""How to ask Bybit v5 linear (venues/wire.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from foreshock.venues.bybit import Bybit, result
from foreshock.venues.facts import count
from foreshock.venues.socket_wire import SocketWire
from foreshock.venues.wire import Request

OPEN_INTEREST_EVERY_S: Final = 900.0  # the tickers bring it too, as it changes
FUNDING_EVERY_S: Final = 3600.0
INSTRUMENTS_EVERY_S: Final = 60.0


class BybitWire(SocketWire):
    """The wire of Bybit's linear perpetuals. Every request weighs 1."""

    ws_url = "wss://stream.bybit.com"
    rest_url = "https://api.bybit.com"
    path = "/v5/public/linear"
    heartbeat: tuple[float, str] | None = (20.0, '{"op":"ping"}')
    message_pause_s = 0.1
    lifetime_s = 24 * 3600.0  # the venue names no age: renewed daily all the same
    weight_per_minute = 120
    connects_per_5min = 500
    args_per_message = 100  # of 21,000 characters at most

    def __init__(self) -> None:
        super().__init__(Bybit())

    def instruments(self) -> Request:
        """instruments-info of the whole category, one page."""
        params: dict[str, str | int] = {"category": "linear", "limit": 1000}
        path = "/v5/market/instruments-info"
        return Request("instruments", "", path, params, 1, INSTRUMENTS_EVERY_S)

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """Open interest and settled funding of each symbol."""
        out = []
        for s in symbols:
            interest: dict[str, str | int] = {
                "category": "linear", "symbol": s, "intervalTime": "5min", "limit": 1,
            }  # fmt: skip
            funding: dict[str, str | int] = {"category": "linear", "symbol": s, "limit": 1}
            out += [
                Request("open_interest", s, "/v5/market/open-interest", interest, 1,
                        OPEN_INTEREST_EVERY_S),
                Request("funding_rate", s, "/v5/market/funding/history", funding, 1,
                        FUNDING_EVERY_S),
            ]  # fmt: skip
        return out

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """The last minute bars of each symbol, as many as one page holds."""
        return [
            Request(
                "bars", s, "/v5/market/kline",
                {"category": "linear", "symbol": s, "interval": "1", "limit": 1000},
            )
            for s in symbols
        ]  # fmt: skip

    def time(self) -> Request:
        """The venue's clock."""
        return Request("time", "", "/v5/market/time")

    def venue_ns(self, body: bytes) -> int:
        """Of `{"retCode":0,"result":{"timeNano":"…"}}`. Raises ValueError on anything else."""
        return count(result(body).get("timeNano"), 1)
