"""python-binance's depth caches, spot, one a symbol; the best prices are read after every diff."""

import asyncio
import json
import logging

from binance.ws.depthcache import DepthCacheManager
from harness import serve

logging.disable(logging.CRITICAL)


class Client:
    """The REST client: the snapshots at hand."""

    def __init__(self, snapshots):
        self.snapshots = snapshots

    async def get_order_book(self, symbol, limit):
        return json.loads(self.snapshots[symbol])


class Manager(DepthCacheManager):
    """A manager without a socket."""

    def __init__(self, client, symbol):
        self._client, self._symbol, self._limit = client, symbol, 1000
        self._refresh_interval = 0
        self._depth_cache = None
        self._default_refresh = 0
        self._log = logging.getLogger("quiet")
        self.conv_type = float
        self._conv_type = float


def prepare(symbols, snapshots):
    """Caches that hold the snapshots."""
    client, loop, best, trades = Client(snapshots), asyncio.new_event_loop(), {}, {}
    managers = {symbol: Manager(client, symbol) for symbol in symbols}

    async def fill():
        for manager in managers.values():
            await manager._init_cache()

    loop.run_until_complete(fill())

    async def read(frames):
        for frame in frames:
            data = json.loads(frame)["data"]
            if data["e"] != "depthUpdate":
                trades[data["s"]] = (float(data["p"]), float(data["q"]))
                continue
            cache = await managers[data["s"]]._depth_event(data)
            best[data["s"]] = (cache.get_bids()[0][0], cache.get_asks()[0][0])

    def work(frames):
        loop.run_until_complete(read(frames))

    return work, lambda: best


if __name__ == "__main__":
    serve(prepare)
