"""Raw sessions of others as history: the trades of their frames, with their recorded arrival.

A session's book is replayed, not imported (`foreshock replay FILE`). What its frames tell of the
recorder is said here: its streams, its clock against the venue's, and whether depth hangs together.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from foreshock.market.clock import MS_NS
from foreshock.market.instruments import USDM
from foreshock.stores.archive_csv import Reading
from foreshock.stores.archive_kinds import KINDS
from foreshock.stores.importer_forms import Form
from foreshock.stores.raw_sessions import FRAME, RawSession, read_raw_session

_STREAMS = {"trade": "trades", "aggTrade": "aggTrades"}


def session_tables(path: Path) -> tuple[list[tuple[Form, pa.Table, Reading]], list[str], str]:
    """((form, its rows with `arrival_ns` and `symbol`, reading) of each trade stream, what is known
    of the session, its market). Raises RecordingError on a file of no known layout."""
    session = read_raw_session(path)
    rows: dict[str, list[dict[str, Any]]] = {}
    streams: Counter[str] = Counter()
    depths: dict[str, list[tuple[int, int, int]]] = {}
    offsets: list[int] = []
    reading = Reading(units={"ms"})
    for event in session.events:
        if event.kind != FRAME:
            continue
        frame = orjson.loads(event.body)
        data = frame.get("data", frame)
        what = data.get("e") or ("bookTicker" if "u" in data else "other")
        streams[what] += 1
        reading.rows += 1
        if "E" in data:
            offsets.append(event.arrival_ns - int(data["E"]) * MS_NS)
        if what in _STREAMS:
            rows.setdefault(what, []).append(_trade(data, event.arrival_ns))
        elif what == "depthUpdate":
            ids = (int(data["U"]), int(data["u"]), int(data.get("pu", -1)))
            depths.setdefault(str(data["s"]), []).append(ids)
    known = _known(session, streams, depths, offsets)
    tables = []
    for what, trades in rows.items():
        kind = KINDS[_STREAMS[what]]
        names = [*kind.schema, pa.field("arrival_ns", pa.int64()), pa.field("symbol", pa.string())]
        columns = {f.name: pa.array([t.get(f.name) for t in trades], f.type) for f in names}
        form = Form(kind, kind.name)
        tables.append((form, pa.table(columns), reading))
    return tables, known, session.market


def _trade(data: dict[str, Any], arrival_ns: int) -> dict[str, Any]:
    price, size = float(data["p"]), float(data["q"])
    out = {
        "arrival_ns": arrival_ns,
        "symbol": str(data["s"]),
        "event_ns": int(data["T"]) * MS_NS,
        "price": price,
        "size": size,
        "buyer_is_maker": bool(data["m"]),
    }
    if data["e"] == "trade":
        return {**out, "id": int(data["t"]), "quote_size": None}
    return {
        **out,
        "id": int(data["a"]),
        "first_id": int(data["f"]),
        "last_id": int(data["l"]),
    }


def _known(
    session: RawSession,
    streams: Counter[str],
    depths: dict[str, list[tuple[int, int, int]]],
    offsets: list[int],
) -> list[str]:
    seen = ", ".join(f"{n} {name}" for name, n in sorted(streams.items()))
    known = [f"a raw session of {len(session.instruments)} pairs: {seen}"]
    futures = session.market == USDM
    for symbol, frames in depths.items():
        breaks = sum(
            (after[2] != before[1]) if futures else (after[0] != before[1] + 1)
            for before, after in pairwise(frames)
        )
        known.append(f"{symbol}: {len(frames)} depth frames, {breaks} breaks of their sequence")
    if offsets and min(offsets) < 0:
        known.append(
            f"the recorder's clock ran {-min(offsets) / 1e6:.1f} ms or more behind the venue's"
        )
    return known
