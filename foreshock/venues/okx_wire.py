"""How to ask OKX's linear swaps (venues/wire.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from foreshock.market.clock import MS_NS
from foreshock.venues.facts import count, members
from foreshock.venues.okx import Okx, inst_id, result
from foreshock.venues.socket_wire import SocketWire
from foreshock.venues.wire import Request

FUNDING_EVERY_S: Final = 3600.0
INSTRUMENTS_EVERY_S: Final = 60.0


class OkxWire(SocketWire):
    """The wire of OKX's linear swaps. Every request weighs 1."""

    ws_url = "wss://ws.okx.com:8443"
    rest_url = "https://www.okx.com"
    path = "/ws/v5/public"
    heartbeat: tuple[float, str] | None = (25.0, "ping")
    message_pause_s = 0.35  # three messages a second
    lifetime_s = 24 * 3600.0  # the venue names no age: renewed daily all the same
    weight_per_minute = 300  # 10 in 2 s, of each path and address
    connects_per_5min = 900
    args_per_message = 100  # of 64 KB at most

    def __init__(self) -> None:
        super().__init__(Okx())

    def arg(self, stream: str) -> Any:
        """`books:BTC-USDT-SWAP` as the venue's channel; SWAP alone is the whole market."""
        channel, _, name = stream.partition(":")
        return {"channel": channel, "instType" if name == "SWAP" else "instId": name}

    def instruments(self) -> Request:
        """All swaps."""
        params: dict[str, str | int] = {"instType": "SWAP"}
        path = "/api/v5/public/instruments"
        return Request("instruments", "", path, params, 1, INSTRUMENTS_EVERY_S)

    def polls(self, symbols: Sequence[str]) -> list[Request]:
        """Settled funding of each symbol; the rest comes over the socket."""
        path = "/api/v5/public/funding-rate-history"
        return [
            Request("funding_rate", s, path, {"instId": inst_id(s), "limit": 1}, 1, FUNDING_EVERY_S)
            for s in symbols
        ]

    def time(self) -> Request:
        """The venue's clock."""
        return Request("time", "", "/api/v5/public/time")

    def venue_ns(self, body: bytes) -> int:
        """Of `{"code":"0","data":[{"ts":"…"}]}`. Raises ValueError on anything else."""
        data = result(body)
        return count(members(data[0] if data else None).get("ts"), 1) * MS_NS
