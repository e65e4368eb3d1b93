"""The supervisor on real Ray: it follows the venue's list and keeps one budget for all watchers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from actors.plan import FollowPlan, WatchPlan
from foreshock.market.instruments import SPOT, from_exchange_info
from foreshock.market.selection import SymbolFilter
from foreshock.models.base import Domain

PATIENCE_S = 90.0
FILTERS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "stepSize": "0.001"},
]


class ListingVenue:
    """A venue that lists what a test wants and counts what it is asked; it has no streams."""

    def __init__(self) -> None:
        self.status = {"AAAUSDT": "TRADING", "BBBUSDT": "TRADING"}
        self.asked: list[str] = []

    def body(self) -> dict[str, Any]:
        return {
            "symbols": [
                {"symbol": s, "status": status, "quoteAsset": "USDT", "filters": FILTERS}
                for s, status in self.status.items()
            ]
        }


@pytest.fixture
def venue() -> Iterator[tuple[ListingVenue, str]]:
    listing = ListingVenue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            listing.asked.append(path)
            said: Any = listing.body() if path.endswith("exchangeInfo") else []
            if path.endswith("/time"):
                said = {"serverTime": int(time.time() * 1000)}
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-MBX-USED-WEIGHT-1M", "300")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield listing, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_listings_halts_and_delistings_are_followed_and_one_budget_serves_all(
    local_ray: Any, venue: tuple[ListingVenue, str]
) -> None:
    from actors.supervisor import SupervisorActor

    listing, rest_url = venue
    plan = WatchPlan(
        name="w", instruments=tuple(from_exchange_info(listing.body(), SPOT)),
        domain=Domain(source="simulation", market=SPOT, tier="book"),
        ws_url="ws://127.0.0.1:1", rest_url=rest_url,
    )  # fmt: skip
    follow = FollowPlan(0.5, 6000, (SymbolFilter(by="deny", pattern="X.*"),))
    supervisor = SupervisorActor.options(num_cpus=0.05, max_concurrency=32).remote(plan, 2, follow)
    life = supervisor.run.remote()
    found: dict[str, Any] = {}

    def until(true: Callable[[], object]) -> None:
        limit_s = time.monotonic() + PATIENCE_S
        while True:
            found.update(local_ray.get(supervisor.status.remote()))
            if true():
                return
            assert time.monotonic() < limit_s, found
            time.sleep(0.2)

    def epochs() -> dict[str, tuple[str, int]]:
        told = [w for w in found["watchers"] if "symbols" in w]
        return {
            symbol: (watcher["name"], said["book_epoch"])
            for watcher in told
            for symbol, said in watcher["symbols"].items()
        }

    try:
        until(lambda: epochs() == {"AAAUSDT": ("w-0", 1), "BBBUSDT": ("w-1", 1)})
        # The venue's count is everybody's: whoever asked, the budget is one.
        until(lambda: found["weight"][rest_url]["used"] >= 300)
        listing.status |= {"CCCUSDT": "TRADING", "XXXUSDT": "TRADING", "AAAUSDT": "HALT"}
        until(lambda: epochs().get("CCCUSDT") == ("w-2", 1) and found["halted"] == ["AAAUSDT"])
        assert epochs()["BBBUSDT"] == ("w-1", 1) and "XXXUSDT" not in epochs()
        del listing.status["BBBUSDT"]
        until(lambda: "BBBUSDT" not in epochs())
        assert found["gone"] == ["BBBUSDT"] and found["restarts"] == 0
        assert set(epochs()) == {"AAAUSDT", "CCCUSDT"}
        listing.status["AAAUSDT"] = "TRADING"
        until(lambda: found["halted"] == [])
        assert epochs()["CCCUSDT"] == ("w-2", 1)
    finally:
        local_ray.get(supervisor.stop.remote(), timeout=30)
        local_ray.kill(supervisor)
        del life
