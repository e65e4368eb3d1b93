from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from foreshock.costs.barrier import BarrierSettings
from foreshock.costs.total import CostSettings
from foreshock.engine.message import BoundaryMessage
from foreshock.errors import ModelError
from foreshock.features import catalog
from foreshock.market.rows import ALL, CONTROL_KILL, RESYNCING
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings
from foreshock.signals.policy import PolicyState
from foreshock.signals.risk import control_row
from foreshock.stores.hot import RedisHot
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import DirectoryRegistry
from serve.facts import NOTE, POLICY_NOTE
from serve.gate import Gate
from serve.outbox import Outbox
from serve.scorer import Scorer, Scores, champion_of
from serve.settings import ServeSettings
from tests.unit.serve.material import DOMAIN, T0_NS, boundary, recorded

LAYOUT = catalog.layout()

SYMBOLS = ("AAAUSDT", "BBBUSDT")
# Costs and barriers under which every vector of the material is worth a signal.
EASY = GateSettings(
    probability_threshold=0.0,
    utility_threshold_bps=-1e9,
    cool_down_s=60.0,
    costs=CostSettings(taker_fee_bps=0.0, funding_interval_h=0.0),
    barriers=BarrierSettings(),
)


@pytest.fixture(scope="module")
def scorer(models_dir: Path) -> Scorer:
    registry = DirectoryRegistry(models_dir)
    return Scorer(lambda domain: champion_of(registry, domain), DOMAIN, LAYOUT)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(lambda: Ledger(tmp_path / "ledger.sqlite"), 0.02, 100)
    yield box
    box.close()


def gate_of(
    scorer: Scorer | None, hot: RedisHot, outbox: Outbox | None = None, **more: Any
) -> Gate:
    async def score(matrix: Any, fingerprint: str, symbols: Any = None) -> Scores:
        if scorer is None:
            raise ConnectionError("nobody there")
        return scorer.score(matrix, fingerprint, symbols)

    settings = ServeSettings(**more)
    return Gate(score, hot, outbox, settings, EASY, LAYOUT)


def tell(
    gate: Gate, at_s: int = 0, symbols: tuple[str, ...] = SYMBOLS, **more: Any
) -> dict[str, Any]:
    given = {"watcher": "w0", "symbols": symbols, "domain": DOMAIN, "live": False}
    given |= {"boundary": boundary(len(symbols), at_s)} | more
    return asyncio.run(gate.judge(BoundaryMessage(**given)))


def test_a_message_survives_pickling() -> None:
    message = BoundaryMessage("w0", SYMBOLS, DOMAIN, boundary())
    again = pickle.loads(pickle.dumps(message))
    assert again.symbols == SYMBOLS
    np.testing.assert_array_equal(again.boundary.vectors, message.boundary.vectors)


def test_every_symbol_gets_a_verdict_that_lies_in_the_hot_store(
    scorer: Scorer, hot: RedisHot
) -> None:
    summary = tell(gate_of(scorer, hot))
    assert (summary["verdicts"], summary["signals"], summary["probabilities"]) == (2, 2, True)
    assert summary["reasons"] == {"signal": 2}
    assert summary["published_ns"] is not None
    stored = hot.verdicts()
    assert set(stored) == set(SYMBOLS)
    probability = stored["AAAUSDT"]["probabilities"]
    scores, facts, _ = scorer.score(boundary().vectors, LAYOUT.fingerprint)
    assert scores is not None and facts is not None
    assert probability == scores[0].astype(float).tolist()
    assert stored["AAAUSDT"]["model_version"] == facts.version
    assert hot.market()["BBBUSDT"]["bid"] == 100.0
    assert [s["symbol"] for s in hot.last_signals()] == ["BBBUSDT", "AAAUSDT"]


def test_a_message_sent_twice_signals_once(scorer: Scorer, hot: RedisHot) -> None:
    gate = gate_of(scorer, hot)
    tell(gate)
    assert tell(gate)["reasons"] == {"duplicate": 2}
    assert len(hot.last_signals()) == 2
    assert hot.verdicts()["AAAUSDT"]["reason"] == "signal"


def test_a_new_gate_goes_on_where_the_last_one_died(scorer: Scorer, hot: RedisHot) -> None:
    tell(gate_of(scorer, hot))
    successor = gate_of(scorer, hot)
    assert tell(successor)["reasons"] == {"duplicate": 2}
    assert tell(successor, at_s=30)["reasons"] == {"cool_down": 2}
    assert tell(successor, at_s=61)["reasons"] == {"signal": 2}


def test_a_gate_that_died_before_its_state_was_stored_signals_under_the_same_ids(
    scorer: Scorer, hot: RedisHot, redis_url: str
) -> None:
    tell(gate_of(scorer, hot))
    first = {signal["id"] for signal in hot.last_signals()}
    hot.publish(notes={POLICY_NOTE: orjson.dumps({
        "version": 1, "last_judged_ns": {}, "last_signal_ns": {}, "killed": [], "broken": [],
    })})  # fmt: skip
    assert tell(gate_of(scorer, hot))["reasons"] == {"signal": 2}
    assert {signal["id"] for signal in hot.last_signals()} == first
    assert len(hot.last_signals()) == 2


def test_signals_reach_the_ledger_and_verdicts_are_counted(
    scorer: Scorer, hot: RedisHot, outbox: Outbox, tmp_path: Path
) -> None:
    gate = gate_of(scorer, hot, outbox)
    tell(gate)
    tell(gate)
    outbox.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert sorted(line["symbol"] for line in ledger.signals()) == list(SYMBOLS)
    counts = ledger.audit_trail()[0]["detail"]["by_reason"]
    assert counts == {"signal": 2, "duplicate": 2}
    ledger.close()


@pytest.mark.parametrize(("every_s", "kept"), [(0, 2), (1, 4), (7, 2)])
def test_probabilities_are_kept_every_so_often_signals_or_not(
    scorer: Scorer, hot: RedisHot, outbox: Outbox, tmp_path: Path, every_s: int, kept: int
) -> None:
    gate = gate_of(scorer, hot, outbox, ledger_predictions_every_s=every_s)
    assert tell(gate)["reasons"] == {"signal": 2}
    assert tell(gate, at_s=2)["reasons"] == {"cool_down": 2}
    outbox.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert (len(ledger.signals()), len(ledger.predictions())) == (2, kept)
    ledger.close()


def test_the_cost_tables_in_the_hot_store_are_those_that_bills_are_made_with(
    scorer: Scorer, hot: RedisHot
) -> None:
    tell(gate_of(scorer, hot))
    table = hot.costs()["BBBUSDT"]
    assert table["taker_fee_bps"] == EASY.costs.taker_fee_bps
    verdict = hot.verdicts()["BBBUSDT"]
    assert table["bill_version"] == verdict["bill_version"]
    assert table["fees"]["round_trip_bps"] == verdict["bill"]["fees_bps"]


def test_signals_of_a_gate_that_died_first_reach_the_ledger_through_its_successor(
    scorer: Scorer, hot: RedisHot, outbox: Outbox, tmp_path: Path
) -> None:
    tell(gate_of(scorer, hot))
    tell(gate_of(scorer, hot, outbox), at_s=1)
    outbox.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert {line["id"] for line in ledger.signals()} == {s["id"] for s in hot.last_signals()}
    assert len(ledger.signals()) == 2
    ledger.close()


def test_who_asks_is_told_all_that_the_verdicts_followed_from(
    scorer: Scorer, hot: RedisHot
) -> None:
    gate = gate_of(scorer, hot)
    assert not {"scores", "said", "policy"} & tell(gate).keys()
    told = tell(gate, at_s=1, tell_all=True)
    assert (
        told["scores"].tobytes()
        == scorer.score(boundary(at_s=1).vectors, LAYOUT.fingerprint)[0].tobytes()
    )
    assert [verdict["reason"] for verdict in told["said"]] == ["cool_down"] * 2
    before = PolicyState.from_bytes(told["policy"])
    assert before.last_signal_ns == before.last_judged_ns == dict.fromkeys(SYMBOLS, T0_NS)
    one = tell(gate, at_s=2, symbols=SYMBOLS[:1], tell_all=True)
    assert set(PolicyState.from_bytes(one["policy"]).last_judged_ns) == set(SYMBOLS[:1])


def test_a_dead_scorer_makes_refusals_and_no_exception(hot: RedisHot) -> None:
    summary = tell(gate_of(None, hot))
    assert summary["reasons"] == {"no_model": 2}
    assert "ConnectionError" in summary["problem"]
    assert hot.verdicts()["AAAUSDT"]["probabilities"] is None
    assert "nobody there" in hot.verdicts()["AAAUSDT"]["detail"]


def test_a_scorer_that_dies_later_makes_refusals_too(scorer: Scorer, hot: RedisHot) -> None:
    alive = True

    async def score(matrix: Any, fingerprint: str, symbols: Any = None) -> Scores:
        if not alive:
            await asyncio.Event().wait()
        return scorer.score(matrix, fingerprint, symbols)

    gate = Gate(score, hot, None, ServeSettings(score_budget_ms=20), EASY, LAYOUT)
    assert tell(gate)["probabilities"]
    alive = False
    summary = tell(gate, at_s=1)
    assert summary["reasons"] == {"no_model": 2}
    assert "longer than 20 ms" in summary["problem"]
    facts = orjson.loads(hot.note(NOTE) or b"")
    assert facts["scorer_failures"] == {"slow": 1}
    assert facts["verdicts"] == {"signal": 2, "no_model": 2}


def test_without_a_model_verdicts_say_so(hot: RedisHot, tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path)
    empty = Scorer(lambda domain: champion_of(registry, domain), DOMAIN, LAYOUT)
    summary = tell(gate_of(empty, hot))
    assert summary["reasons"] == {"no_model": 2}
    assert summary["model_version"] is None


def test_rows_of_another_domain_are_refused(scorer: Scorer, hot: RedisHot) -> None:
    other = Domain(source="simulation", market="binance-usdm", tier="book")
    assert tell(gate_of(scorer, hot), domain=other)["reasons"] == {"model_domain": 2}
    assert hot.verdicts()["AAAUSDT"]["probabilities"] is None


def test_vectors_of_another_layout_are_not_scored(scorer: Scorer, hot: RedisHot) -> None:
    summary = tell(gate_of(scorer, hot), layout_fingerprint="another")
    assert summary["reasons"] == {"no_model": 2}
    assert "another" in summary["problem"]


def test_a_cold_symbol_says_what_is_missing(scorer: Scorer, hot: RedisHot) -> None:
    assert tell(gate_of(scorer, hot), boundary=boundary(warm=False))["reasons"] == {"cold": 2}
    missing = hot.market()["AAAUSDT"]["missing"]
    assert "spread_bps" in missing
    assert hot.market()["AAAUSDT"]["not_warm"] == boundary().warm.shape[1]


def test_an_invalid_book_gets_no_number(scorer: Scorer, hot: RedisHot) -> None:
    summary = tell(gate_of(scorer, hot), boundary=boundary(state=RESYNCING))
    assert summary["reasons"] == {"book_resyncing": 2}
    assert not summary["probabilities"]


def test_a_kill_switch_row_stops_signals_and_outlives_the_gate(
    scorer: Scorer, hot: RedisHot
) -> None:
    thrown = control_row(T0_NS, 1, CONTROL_KILL, 1, ALL)
    assert tell(gate_of(scorer, hot), control_rows=thrown)["reasons"] == {"kill_switch": 2}
    successor = gate_of(scorer, hot)
    assert tell(successor, at_s=1)["reasons"] == {"kill_switch": 2}
    back = control_row(T0_NS, 2, CONTROL_KILL, 0, ALL)
    assert tell(successor, at_s=2, control_rows=back)["reasons"] == {"signal": 2}


def test_two_watchers_are_judged_apart(scorer: Scorer, hot: RedisHot) -> None:
    gate = gate_of(scorer, hot)

    async def both() -> list[dict[str, Any]]:
        sent = [
            BoundaryMessage(f"w{i}", (symbol,), DOMAIN, boundary(1), live=False)
            for i, symbol in enumerate(SYMBOLS)
        ]
        return await asyncio.gather(*(gate.judge(message) for message in sent))

    assert [summary["reasons"] for summary in asyncio.run(both())] == [{"signal": 1}] * 2
    assert set(hot.verdicts()) == set(SYMBOLS)


def test_without_the_store_a_new_gate_says_nothing(scorer: Scorer) -> None:
    away = RedisHot("redis://127.0.0.1:1/0", timeout_s=0.2)
    summary = tell(gate_of(scorer, away))
    assert summary["verdicts"] == 0 and summary["published_ns"] is None
    assert "Redis" in summary["problem"]
    away.close()


class _Flaky(RedisHot):
    """The real store with a line that can be cut."""

    cut = False

    def _execute(self, pipe: Any) -> None:
        if self.cut:
            pipe.connection_pool = RedisHot("redis://127.0.0.1:1/0")._client.connection_pool
        super()._execute(pipe)


def test_signals_that_were_not_taken_go_with_the_next_boundary(
    scorer: Scorer, redis_url: str
) -> None:
    hot = _Flaky(redis_url, prefix="flaky:")
    gate = gate_of(scorer, hot)
    tell(gate, at_s=0, symbols=("CCCUSDT",))
    hot.cut = True
    lost = tell(gate, at_s=1)
    assert lost["signals"] == 2 and lost["published_ns"] is None
    hot.cut = False
    assert tell(gate, at_s=2)["reasons"] == {"cool_down": 2}
    told = {(signal["symbol"], signal["boundary_ns"]) for signal in hot.last_signals()}
    assert told >= {(symbol, boundary(at_s=1).boundary_ns) for symbol in SYMBOLS}
    assert hot.verdicts()["AAAUSDT"]["reason"] == "cool_down"
    hot.close()


def test_a_message_that_is_not_whole_is_refused_aloud(scorer: Scorer, hot: RedisHot) -> None:
    with pytest.raises(ModelError, match="3 symbols for a boundary of 2"):
        tell(gate_of(scorer, hot), symbols=("A1", "A2", "A3"), boundary=boundary(2))


def test_recorded_boundaries_get_probabilities_once_the_book_joined(
    recordings: Path, scorer: Scorer, hot: RedisHot
) -> None:
    symbols, found = recorded(recordings)
    gate = gate_of(scorer, hot)
    summaries = [tell(gate, symbols=symbols, boundary=b) for b in found]
    reasons = [next(iter(s["reasons"])) for s in summaries]
    assert reasons[0] in ("book_resyncing", "cold")
    assert "signal" in reasons
    scored = [s["probabilities"] for s in summaries]
    assert scored == sorted(scored), "once warm, this quiet minute stays warm"


def test_replaying_a_stored_boundary_gives_the_same_verdicts(
    recordings: Path, scorer: Scorer, hot: RedisHot, redis_url: str
) -> None:
    symbols, found = recorded(recordings)
    other = RedisHot(redis_url, prefix="again:")
    for store in (hot, other):
        gate = gate_of(scorer, store)
        for each in found[:40]:
            tell(gate, symbols=symbols, boundary=replace(each))

    def bare(store: RedisHot) -> dict[str, Any]:
        return {k: v for k, v in store.verdicts()[symbols[0]].items() if k != "judged_ns"}

    assert bare(hot) == bare(other)
    other.close()
