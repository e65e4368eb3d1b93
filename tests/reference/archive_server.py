"""A stand-in for the venue's public archive and REST tail: plain HTTP in a thread, on loopback.

It serves zips in the archive's layout, made from a truth that the tests know, and misbehaves for
chosen paths: each misbehaviour is used up by one request, so that a later attempt is served well.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

MS_OF_DAY = 86_400_000
KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
AGG_TRADES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
TRADES = "id,price,qty,quote_qty,time,is_buyer_maker"
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
FUNDING = "calc_time,funding_interval_hours,last_funding_rate"
BOOK_DEPTH = "timestamp,percentage,depth,notional"


def day_ms(day: date) -> int:
    """The first ms of a UTC day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def zipped(name: str, text: str) -> bytes:
    """A zip of one CSV, the same bytes every time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name.replace(".zip", ".csv"), (2024, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, text)
    return out.getvalue()


def klines(day: date, step_ms: int = 60_000, seed: int = 0, scale: int = 1) -> list[list[str]]:
    """A day of bars as the archive prints them; `scale` 1000 makes stamps of µs."""
    rng = np.random.default_rng([seed, day.toordinal()])
    n, start = MS_OF_DAY // step_ms, day_ms(day)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.05, n)), 2)
    volume = np.round(rng.gamma(2, 3, n), 3)
    out = []
    for i in range(n):
        opened, last = close[i - 1] if i else close[0], close[i]
        high, low = max(opened, last) + 0.01, min(opened, last) - 0.01
        at = start + i * step_ms
        out.append(
            [
                str(at * scale),
                *(f"{x:.2f}" for x in (opened, high, low, last)),
                f"{volume[i]:.3f}",
                str((at + step_ms) * scale - 1),
                f"{volume[i] * last:.5f}",
                str(i % 7),
                f"{volume[i] / 2:.3f}",
                f"{volume[i] * last / 2:.5f}",
                "0",
            ]
        )
    return out


def agg_trades(
    day: date,
    n: int = 500,
    seed: int = 0,
    scale: int = 1,
    spelled: tuple[str, str] = ("true", "false"),
) -> list[list[str]]:
    """A day of aggregate trades; ids go on from day to day."""
    rng = np.random.default_rng([seed, 7, day.toordinal()])
    at = np.sort(rng.integers(0, MS_OF_DAY, n)) + day_ms(day)
    first = (day.toordinal() - 730_000) * n
    return [
        [
            str(first + i),
            f"{100 + rng.integers(-50, 50) / 100:.2f}",
            f"{rng.integers(1, 900) / 1000:.3f}",
            str(3 * (first + i)),
            str(3 * (first + i) + int(rng.integers(0, 3))),
            str(int(at[i]) * scale),
            spelled[int(rng.integers(0, 2))],
        ]
        for i in range(n)
    ]


def csv(rows: Iterable[Iterable[str]], header: str = "") -> str:
    """CSV text."""
    lines = [header] if header else []
    return "\n".join([*lines, *(",".join(row) for row in rows)]) + "\n"


class ArchiveServer:
    """Files by path, and how they are to go wrong. Use as a context manager."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.rest: dict[str, Callable[[dict[str, str]], Any]] = {}
        self.asked: Counter[str] = Counter()
        self.flying = 0
        self.most_at_once = 0
        self.gate = threading.Event()  # a "hold" fault waits for it
        self.held = threading.Event()  # set once a request is held
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with owner._lock:
                    owner.flying += 1
                    owner.most_at_once = max(owner.most_at_once, owner.flying)
                try:
                    owner._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with owner._lock:
                        owner.flying -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> ArchiveServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, path: str, text: str, *, sha256: str | None = None) -> bytes:
        """Serve a CSV as the zip at `path`, with its checksum (or the one given)."""
        name = path.rsplit("/", 1)[-1]
        return self.put_bytes(path, zipped(name, text), sha256=sha256)

    def put_bytes(self, path: str, body: bytes, *, sha256: str | None = None) -> bytes:
        """Serve any bytes at `path`, with their checksum (or the one given; "" for none)."""
        name = path.rsplit("/", 1)[-1]
        self.files[path] = body
        digest = hashlib.sha256(body).hexdigest() if sha256 is None else sha256
        if digest:
            self.files[f"{path}.CHECKSUM"] = f"{digest}  {name}\n".encode()
        return body

    def zips_asked(self) -> int:
        """How many requests for zips came."""
        return sum(n for path, n in self.asked.items() if path.endswith(".zip"))

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        path = address.path.lstrip("/")
        with self._lock:
            self.asked[path] += 1
            waiting = self.faults.get(path)
            fault = waiting.pop(0) if waiting else ""
        if fault in ("503", "429", "404", "500"):
            return _send(handler, int(fault), b"", {"Retry-After": "0"} if fault == "429" else {})
        if path in self.rest:
            question = {name: values[0] for name, values in parse_qs(address.query).items()}
            return _send(handler, 200, json.dumps(self.rest[path](question)).encode())
        body = self.files.get(path)
        if fault == "stall":
            self.gate.wait(60)
        if body is None:
            return _send(handler, 404, b"<html>no such file</html>")
        if fault == "html":
            return _send(handler, 200, b"<!DOCTYPE html><html>try later</html>")
        status, first = 200, 0
        wanted = handler.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                return _send(handler, 416, b"")
            status = 206
        if fault in ("cut", "hold"):
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body) - first))
            handler.end_headers()
            handler.wfile.write(body[first : first + (len(body) - first) // 2])
            handler.wfile.flush()
            if fault == "hold":
                self.held.set()
                self.gate.wait(60)
            handler.close_connection = True
            return None
        return _send(handler, status, body[first:])


def _send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
