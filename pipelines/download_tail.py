"""The tail over REST: days that the archive does not have yet, and today so far.

The answers become tables of the same kind and go through the same judge; a day is kept as
`rest.parquet` until the archive's file takes its place. Only closed bars are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

import httpx
import pyarrow as pa

from foreshock.errors import ArchiveError
from foreshock.market.clock import MS_NS
from foreshock.market.instruments import SPOT
from foreshock.stores.archive_judge import judge
from foreshock.stores.archive_kinds import DAY_NS, INTERVALS_NS, Kind
from foreshock.stores.archive_plan import Series
from foreshock.stores.history import REST, History, start_ns
from foreshock.stores.history_settings import HistorySettings
from pipelines.download import FAILED, LONGEST_WAIT_S, Outcome, client_for

PREFIX: Final = {SPOT: "/api/v3/"}
OTHER_PREFIX: Final = "/fapi/v1/"
PAGE: Final = 1000
HOUR_MS: Final = 3_600_000


def fetch_tail(
    history: History,
    series: Series,
    day: date,
    now_ns: int,
    settings: HistorySettings,
    rest_url: str,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Fetch one day of a series over REST, as far as it has gone by `now_ns`, and keep it.

    series   of a kind that REST has (`spec.rest`)
    The outcome is "whole" (rows of the day so far), "absent" (the venue has none) or "failed"."""
    path = f"{PREFIX.get(series.market, OTHER_PREFIX)}{series.spec.rest}"
    origin = f"{path}?symbol={series.symbol}&day={day.isoformat()}"
    if client is None:
        with client_for(rest_url, settings) as own:
            return fetch_tail(history, series, day, now_ns, settings, rest_url, own, sleep)
    asker = _Asker(client, path, settings, sleep)
    start, end = start_ns(day), min(start_ns(day) + DAY_NS, now_ns)
    try:
        if series.kind == "aggTrades":
            table = _table(list(asker.trades(series.symbol, start, end)), series.spec, _TRADE)
        elif series.kind == "fundingRate":
            table = _table(list(asker.funding(series.symbol, start, end)), series.spec, _FUNDING)
        else:
            table = _bars(list(asker.bars(series, start, end)), series.spec, now_ns)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError, ArchiveError) as error:
        return Outcome(origin, FAILED, 0, asker.bytes, "rest", f"{origin}: {error!r}")
    if not table.num_rows:
        return Outcome(origin, "absent", 0, asker.bytes, "empty", f"{origin}: no rows")
    table, judged = judge(table, series.spec, series.spec.gap_limit_ns(series.interval))
    history.write_day(series, day, table, judged.told(units=("ms",)), source=REST, origin=origin)
    return Outcome(origin, "whole", judged.rows, asker.bytes)


class _Asker:
    """Pages of one REST path, at the pace of the settings."""

    def __init__(
        self,
        client: httpx.Client,
        path: str,
        settings: HistorySettings,
        sleep: Callable[[float], None],
    ) -> None:
        self._client, self._path, self._settings, self._sleep = client, path, settings, sleep
        self._asked = 0
        self.bytes = 0

    def bars(self, series: Series, start_ns: int, end_ns: int) -> Iterator[list[Any]]:
        """Bars that open in [start, end)."""
        step_ms = INTERVALS_NS[series.interval] // MS_NS
        at_ms, end_ms = start_ns // MS_NS, end_ns // MS_NS
        name = "pair" if series.kind == "indexPriceKlines" else "symbol"
        while at_ms < end_ms:
            question = {name: series.symbol, "interval": series.interval, "limit": PAGE}
            page = self._get({**question, "startTime": at_ms, "endTime": end_ms - 1})
            yield from page
            if len(page) < PAGE:
                return
            at_ms = int(page[-1][0]) + step_ms

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> Iterator[dict[str, Any]]:
        """Aggregate trades of [start, end): the first of an hour that has one, then on by id."""
        at_ms, end_ms = start_ns // MS_NS, end_ns // MS_NS
        page: list[dict[str, Any]] = []
        while not page and at_ms < end_ms:  # with both ends, the venue takes an hour at most
            to_ms = min(at_ms + HOUR_MS, end_ms) - 1
            page = self._get(
                {"symbol": symbol, "startTime": at_ms, "endTime": to_ms, "limit": PAGE}
            )
            at_ms += HOUR_MS
        while page:
            for trade in page:
                if int(trade["T"]) >= end_ms:
                    return
                yield trade
            page = self._get({"symbol": symbol, "fromId": int(page[-1]["a"]) + 1, "limit": PAGE})

    def funding(self, symbol: str, start_ns: int, end_ns: int) -> list[dict[str, Any]]:
        """Settled rates of [start, end)."""
        span = {"startTime": start_ns // MS_NS, "endTime": end_ns // MS_NS - 1}
        return self._get({"symbol": symbol, **span, "limit": PAGE})

    def _get(self, question: dict[str, Any]) -> list[Any]:
        """A page. Raises httpx.HTTPError when the attempts are used up, ValueError on rubbish."""
        for attempt in range(self._settings.attempts):
            if self._asked:
                self._sleep(1 / self._settings.rest_requests_per_s)
            self._asked += 1
            answer = self._client.get(self._path, params=question)
            self.bytes += len(answer.content)
            if answer.status_code not in (418, 429) and answer.status_code < 500:
                break
            if attempt + 1 < self._settings.attempts:
                asked = answer.headers.get("Retry-After", "")
                wait_s = float(asked) if asked.isdigit() else self._settings.back_off_s * 2**attempt
                self._sleep(min(wait_s, LONGEST_WAIT_S))
        answer.raise_for_status()
        page = answer.json()
        if not isinstance(page, list):
            raise ValueError(f"not a list: {answer.text[:100]!r}")
        return page


# Our column → (the answer's field, what makes our value of it).
_Reader = dict[str, tuple[str, Callable[[Any], Any]]]
_TRADE: Final[_Reader] = {
    "id": ("a", int),
    "price": ("p", float),
    "size": ("q", float),
    "first_id": ("f", int),
    "last_id": ("l", int),
    "event_ns": ("T", lambda ms: int(ms) * MS_NS),
    "buyer_is_maker": ("m", bool),
}
_FUNDING: Final[_Reader] = {
    "event_ns": ("fundingTime", lambda ms: int(ms) * MS_NS),
    "rate": ("fundingRate", float),
}


def _table(page: list[dict[str, Any]], kind: Kind, reader: _Reader) -> pa.Table:
    columns = {}
    for field in kind.schema:
        name, cast = reader.get(field.name, (None, None))
        values = [None if cast is None else cast(entry[name]) for entry in page]
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns)


def _bars(page: list[list[Any]], kind: Kind, now_ns: int) -> pa.Table:
    closed = [bar for bar in page if int(bar[6]) * MS_NS < now_ns]
    columns: dict[str, pa.Array] = {}
    for at, column in enumerate(kind.columns):
        if column.nature == "stamp":
            columns[column.name] = pa.array([int(bar[at]) * MS_NS for bar in closed], pa.int64())
        elif column.nature == "int":
            columns[column.name] = pa.array([int(bar[at]) for bar in closed], pa.int64())
        elif column.nature == "float":
            columns[column.name] = pa.array([float(bar[at]) for bar in closed], pa.float64())
    return pa.table(columns)
