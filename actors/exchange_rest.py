"""The REST door of a local exchange: weights, refusals, and the faults that meet answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from actors.exchange_sources import Source, weight_of
from foreshock.errors import InstrumentError
from foreshock.market.clock import MS_NS, SECOND_NS
from foreshock.market.instruments import USDM
from foreshock.simulation.faults import REST_KINDS, Fault, Faults

PATIENCE: Final = 20  # requests beyond the limit until 429 becomes 418
FIRST_BAN_S: Final = 120


@dataclass(slots=True)
class _Address:
    """What one address has used. `minute` and `banned_until_ns` are of the exchange's clock."""

    minute: int = 0
    used: int = 0
    most: int = 0  # that any minute saw
    beyond: int = 0  # requests beyond the limit in this minute
    bans: int = 0
    banned_until_ns: int = 0


class RestDoor:
    """Answers REST requests. `now_ns` tells the wall time that weights are counted by."""

    def __init__(self, source: Source, faults: Faults, now_ns: Callable[[], int]) -> None:
        self._source, self._faults, self._now_ns = source, faults, now_ns
        self._addresses: dict[str, _Address] = {}
        self._cached: dict[str, bytes] = {}  # answers of the moment of a stale_snapshot
        self.limit = 2400 if source.market == USDM else 6000
        self.refused = 0

    def status(self) -> dict[str, int]:
        """Weight used in a minute by the address that used most, its limit, refusals."""
        most = max((address.most for address in self._addresses.values()), default=0)
        return {"most_weight_1m": most, "limit_1m": self.limit, "refused": self.refused}

    def told(self, fault: Fault) -> None:
        """Keep what a fault needs of this very moment."""
        if fault.kind == "stale_snapshot":
            for symbol in [fault.symbol] if fault.symbol else self._source.symbols:
                body = self._source.depth(symbol, 5000)
                if body is not None:
                    self._cached[symbol] = body

    async def answer(self, request: Request) -> Response:
        """One request to the venue's own paths."""
        address = request.client.host if request.client is not None else ""
        now_ns = self._now_ns()
        account = self._addresses.setdefault(address, _Address())
        if now_ns < account.banned_until_ns:
            left_s = math.ceil((account.banned_until_ns - now_ns) / SECOND_NS)
            return self._refuse(account, 418, -1003, "Way too many requests: banned.", left_s)
        path, query = request.url.path, request.query_params
        short = path.rpartition("/")[2]
        for told in self._faults.strike(REST_KINDS, query.get("symbol", ""), short, now_ns):
            if told.fault.kind == "rest_down":
                return self._refuse(account, 503, -1, "Service unavailable.", None)
            wait_s = max(1, math.ceil(told.fault.seconds))
            status = 429 if told.fault.kind == "rest_429" else 418
            if status == 418:
                account.banned_until_ns = now_ns + wait_s * SECOND_NS
            return self._refuse(account, status, -1003, "Too many requests.", wait_s)
        try:
            limit = int(query.get("limit", "500" if short in ("aggTrades", "klines") else "100"))
            start, end = (int(query[k]) if k in query else None for k in ("startTime", "endTime"))
        except ValueError:
            return self._refuse(account, 400, -1100, "Illegal characters found in a parameter.")
        weight = weight_of(self._source.market, short, limit, "symbol" in query)
        if not self._afford(account, now_ns, weight):
            wait_s = 60 - now_ns // SECOND_NS % 60
            if account.beyond <= PATIENCE:
                message = f"Too much request weight used; {self.limit} a minute."
                return self._refuse(account, 429, -1003, message, wait_s)
            account.bans += 1
            ban_s = FIRST_BAN_S * 2 ** (account.bans - 1)
            account.banned_until_ns = now_ns + ban_s * SECOND_NS
            return self._refuse(account, 418, -1003, "Way too many requests: banned.", ban_s)
        return self._answer(account, path, short, dict(query), limit, start, end, now_ns)

    def _afford(self, account: _Address, now_ns: int, weight: int) -> bool:
        minute = now_ns // (60 * SECOND_NS)
        if account.minute != minute:
            account.minute, account.used, account.beyond = minute, 0, 0
        account.used += weight
        account.most = max(account.most, account.used)
        account.beyond += account.used > self.limit
        return account.used <= self.limit

    def _answer(
        self, account: _Address, path: str, short: str, query: Mapping[str, str], limit: int,
        start: int | None, end: int | None, now_ns: int,
    ) -> Response:  # fmt: skip
        source, symbol = self._source, query.get("symbol", "")
        if short == "ping":
            return self._json(account, b"{}")
        if short == "time":
            return self._json(account, orjson.dumps({"serverTime": source.now_ns // MS_NS}))
        if short == "exchangeInfo":
            return self._json(account, self._listed(now_ns))
        try:
            if short in ("depth", "aggTrades"):
                if not symbol:
                    message = "Mandatory parameter 'symbol' was not sent."
                    return self._refuse(account, 400, -1102, message)
                if short == "depth":
                    body = self._depth(symbol, limit, now_ns)
                else:
                    body = source.agg_trades(symbol, start, end, limit)
                if body is None:
                    what = "snapshot" if short == "depth" else "history"
                    message = f"no {what} in this recording, or not yet"
                    return self._refuse(account, 404, -1, message)
            else:
                body = source.answer(path, query, limit)
        except InstrumentError:
            return self._refuse(account, 400, -1121, "Invalid symbol.")
        if body is None:
            return self._refuse(account, 404, -1, "There is nothing at this path.")
        return self._json(account, body)

    def _depth(self, symbol: str, limit: int, now_ns: int) -> bytes | None:
        if symbol in self._cached:
            if self._faults.strike(("stale_snapshot",), symbol, "depth", now_ns):
                return self._cached[symbol]
            del self._cached[symbol]
        return self._source.depth(symbol, limit)

    def _listed(self, now_ns: int) -> bytes:
        body = self._source.exchange_info()
        struck = [
            symbol
            for symbol in self._source.symbols
            if self._faults.strike(("bad_tick",), symbol, "exchangeInfo", now_ns)
        ]
        if not struck:
            return body
        told: Any = orjson.loads(body)
        for entry in told["symbols"]:
            if entry["symbol"] in struck:
                price = next(f for f in entry["filters"] if f["filterType"] == "PRICE_FILTER")
                price["tickSize"] = f"{float(price['tickSize']) * 10:.10f}".rstrip("0")
        return orjson.dumps(told)

    def _json(
        self, account: _Address, body: bytes, status: int = 200, wait_s: int | None = None
    ) -> Response:
        headers = {"X-MBX-USED-WEIGHT-1M": str(account.used)}
        if wait_s is not None:
            headers["Retry-After"] = str(wait_s)
        return Response(body, status, headers, media_type="application/json")

    def _refuse(
        self, account: _Address, status: int, code: int, message: str, wait_s: int | None = None
    ) -> Response:
        self.refused += status in (418, 429)
        return self._json(account, orjson.dumps({"code": code, "msg": message}), status, wait_s)
