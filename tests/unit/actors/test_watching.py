"""Watcher, feed and local exchange together, over real sockets on loopback and without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from actors.local_exchange import FaultRequest, LocalExchange, LocalExchangeSettings
from actors.plan import WatchPlan, shared_out
from actors.venue import fetch_instruments
from actors.watcher import Watcher
from foreshock.models.base import Domain
from foreshock.replay.driver import tape_of
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.raw_sessions import read_raw_session

PATIENCE_S = 60.0


@asynccontextmanager
async def watching(settings: LocalExchangeSettings, tape: str = "trade", **plan):
    """A watcher of everything that a local exchange lists, until the block is left."""
    exchange = LocalExchange(settings)
    await exchange.start()
    market = exchange.source.market
    listed = await asyncio.to_thread(fetch_instruments, market, exchange.rest_url)
    source = "binance" if settings.recording else "simulation"
    watcher = Watcher(
        WatchPlan(
            name="w", instruments=tuple(listed), tape=tape, ws_url=exchange.ws_url,
            rest_url=exchange.rest_url, domain=Domain(source=source, market=market, tier="book"),
            **{"snapshots_per_s": 50.0, **plan},
        )
    )  # fmt: skip
    life = asyncio.create_task(watcher.run())
    try:
        yield watcher, exchange
    finally:
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life
        await exchange.stop()


async def until(what: Callable[[], object], life: Watcher) -> None:
    """Wait until `what` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.05)


def books(watcher: Watcher) -> dict[str, tuple[str, int]]:
    found = watcher.status()["symbols"]
    return {s: (entry["book"], entry["book_epoch"]) for s, entry in found.items()}


def synced(watcher: Watcher) -> bool:
    return all(state == "SYNCED" for state, _ in books(watcher).values())


def simulated(market: str = "binance-spot") -> LocalExchangeSettings:
    return LocalExchangeSettings(simulation=SimulationSettings(symbols=3, market=market))


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_books_join_and_boundaries_close(market: str) -> None:
    async def main() -> None:
        async with watching(simulated(market)) as (watcher, _):
            await until(lambda: synced(watcher) and watcher.status()["boundaries"] >= 2, watcher)
            status = watcher.status()
            assert status["frames_by_outcome"]["malformed"] == 0
            assert status["vectors"] == 3 * status["boundaries"]
            assert status["rows"] > status["frames"] > 0

    asyncio.run(main())


def test_a_cut_socket_is_opened_again_and_its_books_come_back() -> None:
    async def main() -> None:
        async with watching(simulated()) as (watcher, exchange):
            await until(lambda: synced(watcher), watcher)
            exchange.inject(FaultRequest(kind="cut"))
            await until(
                lambda: synced(watcher) and all(e == 2 for _, e in books(watcher).values()), watcher
            )
            assert watcher.status()["sockets"][0]["reconnects"] == 1

    asyncio.run(main())


def test_a_socket_that_is_subscribed_but_silent_is_noticed() -> None:
    async def main() -> None:
        async with watching(simulated(), silent_after_s=1.0) as (watcher, exchange):
            await until(lambda: synced(watcher), watcher)
            exchange.inject(FaultRequest(kind="silence", count=10**9))
            await until(lambda: watcher.status()["sockets"][0]["reconnects"] >= 1, watcher)
            assert not synced(watcher)
            exchange.inject(FaultRequest(kind="silence", count=0))
            await until(lambda: synced(watcher), watcher)

    asyncio.run(main())


@pytest.mark.recordings
def test_a_recorded_session_is_watched_like_a_live_one(recordings: Path) -> None:
    files = [str(recordings / "ws_raw" / "hftbacktest" / "usdm" / "btcusdt_20230404.dat.gz")]
    played = LocalExchangeSettings(recording=files, speed=10.0, begin="first_subscriber")

    async def main() -> None:
        async with watching(played) as (watcher, _):
            await until(lambda: synced(watcher), watcher)
            await until(lambda: watcher.status()["frames"] > 5_000, watcher)
            status = watcher.status()
            assert books(watcher) == {"BTCUSDT": ("SYNCED", 1)}
            assert status["frames_by_outcome"]["malformed"] == 0
            assert status["domain"] == "binance/binance-usdm/book"

    asyncio.run(main())


@pytest.mark.recordings
def test_a_recording_without_a_snapshot_stays_resyncing_while_its_tape_goes_on(
    recordings: Path,
) -> None:
    path = recordings / "ws_raw" / "hftbacktest" / "spot" / "btcusdt_20230405.dat.gz"
    played = LocalExchangeSettings(recording=[str(path)], speed=20.0, begin="first_subscriber")
    tape = tape_of(read_raw_session(path).events)

    async def main() -> None:
        async with watching(played, tape) as (watcher, _):
            await until(lambda: watcher.status()["boundaries"] >= 13, watcher)
            assert books(watcher) == {"BTCUSDT": ("RESYNCING", 1)}
            names = watcher.engine.layout.names
            (boundary,) = watcher.engine.feed(watcher.session.timer(watcher.clock.now_ns() + 10**9))
            vector = dict(zip(names, boundary.vectors[0].tolist(), strict=True))
            assert vector["flow_imbalance_10s"] == vector["flow_imbalance_10s"]
            assert vector["spread_bps"] != vector["spread_bps"]

    asyncio.run(main())


def test_shares_hold_every_symbol_once_and_split_the_snapshot_budget() -> None:
    exchange = SimulationSettings(symbols=7)
    from foreshock.simulation.exchange import SimulatedExchange

    plan = WatchPlan(
        name="w", instruments=tuple(SimulatedExchange(exchange).instruments()),
        domain=Domain(source="simulation", market="binance-spot", tier="book"), ws_url="ws://x",
        rest_url="http://x", snapshots_per_s=6.0,
    )  # fmt: skip
    shares = shared_out(plan, 3)
    assert sorted(s for share in shares for s in share.symbols) == sorted(plan.symbols)
    assert [share.snapshots_per_s for share in shares] == [2.0, 2.0, 2.0]
    assert len(shared_out(plan, 20)) == 7
