"""A watcher over real sockets, with the real gate and the real recorder, all in this process: what
it records replays to the same bits, however late or badly it is answered."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors import keeper
from actors.local_exchange import LocalExchange, LocalExchangeSettings
from actors.plan import WatchPlan
from actors.recorder import Recorder
from actors.watcher import Watcher
from foreshock.features import catalog
from foreshock.market.clock import Clock
from foreshock.models.base import Domain
from foreshock.replay.reconcile import Reconciliation, reconcile
from foreshock.replay.remake import session_like
from foreshock.replay.warm import warm_live
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.hot import RedisHot
from foreshock.stores.recordings import open_recording
from foreshock.stores.registry import DirectoryRegistry
from serve.gate import Gate
from serve.scorer import Scorer, champion_of
from serve.settings import ServeSettings
from tests.unit.replay.judged import EASY, judging
from tests.unit.serve.material import train

DOMAIN = Domain(source="simulation", market="binance-spot", tier="book")
BOUNDARIES = 9


class Handle:
    """An object's methods as a Ray handle offers them, in this process."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=partial(self._call, getattr(self._thing, name)))

    async def _call(self, method: Callable[..., Any], *given: Any) -> Any:
        found = method(*given)
        return await found if inspect.isawaitable(found) else found


class UnreliableGate:
    """The gate behind a bad line: the second message is lost, every third comes a second late."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._asked = gate, 0

    async def judge(self, message: Any) -> Any:
        self._asked += 1
        if self._asked == 2:
            raise ConnectionError("the gate is away")
        if self._asked % 3 == 0:
            await asyncio.sleep(1.3)
        return await self._gate.judge(message)


class FailingRecorder(Recorder):
    """A recorder that is dead for one write."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self._writes, self._fails_at = 0, fails_at

    def write(self, *given: Any) -> int:
        self._writes += 1
        if self._writes == self._fails_at:
            raise ray.exceptions.RayActorError
        return super().write(*given)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    train(tmp_path / "models", DOMAIN)
    registry = DirectoryRegistry(tmp_path / "models")
    layout = catalog.layout()
    scorer = Scorer(partial(champion_of, registry), DOMAIN, layout)

    async def score(matrix: Any, fingerprint: str, symbols: Any = None) -> Any:
        return scorer.score(matrix, fingerprint, symbols)

    with EmbeddedRedis() as server:
        gate = Gate(score, RedisHot(server.url), None, ServeSettings(), EASY, layout)
        yield gate
        gate.close()


def watch(home: Path, gate: Any, recorder: Recorder) -> tuple[Watcher, Reconciliation]:
    """Watch three pairs for some boundaries, end, and replay what was recorded."""

    async def scene() -> Watcher:
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
            recording_dir=home / "session" / "w",
            gate="here",
            snapshots_per_s=20.0,
        )
        watcher = Watcher(plan, Handle(recorder), gate=lambda: Handle(gate))
        life = asyncio.create_task(watcher.run())
        try:
            while watcher.status()["boundaries"] < BOUNDARIES:
                await asyncio.wait([life], timeout=0.05)
                if life.done():
                    life.result()
            await watcher.finish()
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            await exchange.stop()
        return watcher

    async def whole(scene: Callable[[], Awaitable[Watcher]]) -> Watcher:
        async with asyncio.timeout(60):
            return await scene()

    warm_live()
    watcher = asyncio.run(whole(scene))
    recording = open_recording(home / "session" / "w")
    judge = judging(home, recording)
    return watcher, reconcile(recording, judge, session=session_like(recording))


@pytest.fixture(autouse=True)
def _flush_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FLUSH_S", 0.7)


def test_a_recording_replays_bit_for_bit_however_late_the_gate_answers(
    tmp_path: Path, gate: Gate
) -> None:
    watcher, found = watch(tmp_path, UnreliableGate(gate), Recorder())
    assert found.first is None and found.holes == 0
    told = watcher.status()
    assert found.boundaries == told["boundaries"] == found.compared["vectors"]
    assert found.rows == told["rows"] and told["shed_rows"] == 0
    assert 0 < found.compared["verdicts"] < found.boundaries  # one answer was lost
    assert found.reasons == told["verdicts"]  # duplicates and all


def test_a_hole_in_the_recording_is_told_and_followed_by_a_snapshot(
    tmp_path: Path, gate: Gate
) -> None:
    watcher, found = watch(tmp_path, gate, FailingRecorder(fails_at=4))
    assert watcher.status()["shed_rows"] > 0
    assert found.holes == 1 and set(found.differing) == {"frames", "rows"}
    assert found.compared["vectors"] > 0 and found.boundaries < watcher.status()["boundaries"]
