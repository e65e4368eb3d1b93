"""A watcher over real sockets whose Redis is killed meanwhile: it watches on, and what the streams
hold in the end is what the watcher saw."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from actors.local_exchange import LocalExchange, LocalExchangeSettings
from actors.plan import WatchPlan
from actors.publisher import BusPlan
from actors.watcher import Watcher
from foreshock.market.clock import Clock
from foreshock.models.base import Domain
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.bus_consumer import Consumer
from tests.servers.redis_server import RedisServer, program

DOMAIN = Domain(source="simulation", market="binance-spot", tier="book")


async def scene(server: RedisServer) -> tuple[dict[str, Any], tuple[str, ...]]:
    simulation = SimulationSettings.model_validate(
        {"symbols": 3, "start_ns": Clock().now_ns(), "seed": 4}
    )
    exchange = LocalExchange(LocalExchangeSettings(simulation=simulation))
    await exchange.start()
    plan = WatchPlan(
        name="w",
        instruments=tuple(exchange.source.exchange.instruments()),  # type: ignore[attr-defined]
        domain=DOMAIN,
        ws_url=exchange.ws_url,
        rest_url=exchange.rest_url,
        bus=BusPlan(server.url, every_ms=5.0),
        snapshots_per_s=20.0,
    )
    watcher = Watcher(plan)
    life = asyncio.create_task(watcher.run())

    async def until(true: Any) -> None:
        while not true(watcher.status()):
            await asyncio.wait([life], timeout=0.02)
            if life.done():
                life.result()

    try:
        await until(lambda now: now["bus"]["trades"] > 20 and now["bus"]["vectors"] > 0)
        await asyncio.to_thread(server.kill)
        await until(lambda now: now["bus"]["state"] == "degraded")
        seen = watcher.status()
        await until(lambda now: now["boundaries"] >= seen["boundaries"] + 2)
        await asyncio.to_thread(server.start, keeping=True)
        await until(lambda now: now["bus"]["state"] == "ok")
        await watcher.finish()
        return watcher.status(), plan.symbols
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await exchange.stop()


def test_a_watcher_whose_redis_is_killed_watches_on_and_the_streams_catch_up(
    tmp_path: Path,
) -> None:
    server = RedisServer(program("embedded"), tmp_path / "redis")
    with server:
        server.kill()
        server.start(keeping=True)  # what it took is there again
        now, symbols = asyncio.run(scene(server))
        trades = []
        for symbol in symbols:
            reader = Consumer(server.url, [f"trades:{symbol.lower()}"], "g", "a", count=10_000)
            entries = reader.read(1)
            assert [entry.lost for entry in entries] == [0] * len(entries)
            told = [trade for entry in entries for trade in entry.trades()]
            assert [trade.no for trade in told] == list(range(1, len(told) + 1))
            assert [trade.id for trade in told] == sorted({trade.id for trade in told})
            trades += told
            reader.close()
    assert now["bus"]["trades"] == len(trades)
    assert set(now["bus"]["lost"].values()) == {0}
    assert all(state["book"] == "SYNCED" for state in now["symbols"].values())
