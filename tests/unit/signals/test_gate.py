"""The gate's promises: order of reasons, both thresholds, monotone in costs, free of splits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from foreshock.costs.total import CostSettings
from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.errors import ModelError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import CONTROL_BREAKER, CONTROL_KILL, RESYNCING, STALE, SYNCED
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings, ModelFacts, Reason, judge
from foreshock.signals.policy import PolicyState
from foreshock.signals.risk import apply_control, control_row

DOMAIN = {"source": "simulation", "market": "binance-spot", "tier": "book"}
COSTS = CostSettings.for_market("binance-spot", taker_fee_bps=1.0)
SETTINGS = GateSettings(costs=COSTS, cool_down_s=10.0)
TOO_LARGE = COSTS.model_copy(update={"notional": 1e6})
MODEL = ModelFacts("1.0.0", (60, 300), (0.6, 0.6), Domain.model_validate(DOMAIN))
START = PolicyState()
T0 = 1_700_000_000 * SECOND_NS


def boundary(n: int, at_ns: int = T0, **changes) -> Boundary:
    """A boundary on which everything is well; `changes` replace whole fields."""
    inputs = np.zeros(n, dtype=BILL_INPUT)
    inputs["bid"], inputs["ask"], inputs["last"] = 99.995, 100.005, 100.0
    inputs["bid_notional"] = inputs["ask_notional"] = 1e6
    inputs["volatility_1s"], inputs["volume_60s"] = 2e-4, 1e6
    inputs["funding_rate"] = np.nan
    fields = {
        "boundary_ns": at_ns,
        "closed_by_seq": 7,
        "closed_at_ns": at_ns + 5,
        "vectors": np.zeros((n, 3), np.float32),
        "warm": np.ones((n, 3), bool),
        "book_state": np.full(n, SYNCED, np.uint8),
        "book_epoch": np.ones(n, np.int32),
        "tape_epoch": np.ones(n, np.int32),
        "bill_inputs": inputs,
        "rows": np.full(n, 100),
    }
    return Boundary(**{**fields, **changes})


def scores(n: int, *row: float) -> np.ndarray:
    return np.tile(np.array(row or (0.9, 0.9), np.float32), (n, 1))


def one(state=START, *, at_ns=T0, p=(0.9, 0.9), model=MODEL, settings=SETTINGS, **changes):
    """The verdict on a single symbol and the state after it."""
    verdicts, after = judge(
        boundary=boundary(1, at_ns, **changes),
        symbols=["AUSDT"],
        probabilities=None if p is None else scores(1, *p),
        model=model,
        session_domain=DOMAIN,
        state=state,
        settings=settings,
    )
    return verdicts[0], after


def test_a_likely_and_worthy_surge_is_a_signal_with_its_bill():
    verdict, _ = one()
    assert verdict.reason is Reason.SIGNAL
    assert verdict.is_signal
    assert verdict.horizon_s == 300  # its barriers are farther away, so it is worth more
    p = np.float64(np.float32(0.9))
    expected = p * verdict.far_bps - (1 - p) * verdict.near_bps - verdict.bill["total_bps"]
    assert verdict.utility_bps == pytest.approx(expected, rel=1e-12)
    assert verdict.probabilities == (p, p)
    assert verdict.mid == pytest.approx(100.0)


def _inputs_without(name: str) -> np.ndarray:
    inputs = boundary(1).bill_inputs.copy()
    inputs[name] = np.nan
    return inputs


REFUSALS = [
    (Reason.NO_MODEL, {"model": None}),
    (Reason.NO_MODEL, {"p": None}),
    (
        Reason.NO_MODEL,
        {
            "model": ModelFacts(
                "1.0.0", (60, 300), (0.6, 0.6), MODEL.domain, approved=(False, False)
            )
        },
    ),
    (
        Reason.MODEL_DOMAIN,
        {
            "model": ModelFacts(
                "1.0.0",
                (60, 300),
                (0.6, 0.6),
                Domain(source="binance", market="binance-spot", tier="book"),
            )
        },
    ),
    (Reason.BOOK_RESYNCING, {"book_state": np.array([RESYNCING], np.uint8)}),
    (Reason.BOOK_STALE, {"book_state": np.array([STALE], np.uint8)}),
    (
        Reason.COLD,
        {
            "model": ModelFacts(
                "1.0.0",
                (60, 300),
                (0.6, 0.6),
                MODEL.domain,
                required=np.array([True, False, False]),
            ),
            "warm": np.array([[False, True, True]]),
        },
    ),
    (Reason.COLD, {"p": (np.nan, 0.9)}),
    (Reason.NO_PRICE, {"bill_inputs": _inputs_without("bid")}),
    (Reason.NO_PRICE, {"bill_inputs": _inputs_without("volatility_1s")}),
    (Reason.NO_PRICE, {"settings": SETTINGS.model_copy(update={"costs": TOO_LARGE})}),
    (Reason.BELOW_PROBABILITY, {"p": (0.59, 0.59)}),
    (
        Reason.BELOW_UTILITY,
        {"settings": SETTINGS.model_copy(update={"utility_threshold_bps": 1e6})},
    ),
]


@pytest.mark.parametrize(("reason", "given_"), REFUSALS, ids=lambda value: str(value)[:40])
def test_each_refusal_has_its_reason_and_a_sentence(reason, given_):
    verdict, _ = one(**given_)
    assert verdict.reason is reason
    assert verdict.detail
    assert not verdict.is_signal


@pytest.mark.parametrize(
    ("reason", "given_"),
    [(reason, given_) for reason, given_ in REFUSALS if reason.value in
     ("no_model", "model_domain", "book_resyncing", "book_stale", "cold")],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_where_a_model_may_not_speak_there_is_no_number(reason, given_):
    verdict, _ = one(**given_)
    assert verdict.probabilities is None
    assert verdict.probability is None
    assert verdict.utility_bps is None


def test_a_feature_that_is_not_required_may_be_cold():
    model = ModelFacts(
        "1.0.0", (60, 300), (0.6, 0.6), MODEL.domain, required=np.array([True, False, False])
    )
    assert one(model=model, warm=np.array([[True, False, False]]))[0].is_signal


def test_a_refusal_of_a_size_says_by_how_much_it_exceeds_the_capacity():
    verdict, _ = one(settings=SETTINGS.model_copy(update={"costs": TOO_LARGE}))
    assert verdict.detail == (
        "notional 1,000,000 exceeds the capacity 250,000 (0.25 of the last minute's volume) by "
        "750,000"
    )


def test_both_thresholds_must_be_met_on_the_same_horizon():
    model = ModelFacts("1.0.0", (60, 300), (0.5, 0.95), MODEL.domain)
    worth_only_later = SETTINGS.model_copy(update={"utility_threshold_bps": 35.0})
    short, _ = one(model=model, p=(0.9, 0.9))
    assert (short.reason, short.horizon_s) == (Reason.SIGNAL, 60)
    neither, _ = one(model=model, p=(0.9, 0.9), settings=worth_only_later)
    assert (neither.reason, neither.horizon_s) == (Reason.BELOW_UTILITY, 60)


def test_a_horizon_that_was_not_approved_never_signals():
    model = ModelFacts("1.0.0", (60, 300), (0.6, 0.6), MODEL.domain, approved=(True, False))
    assert one(model=model)[0].horizon_s == 60
    assert one(model=model, p=(0.1, 0.99))[0].reason is Reason.BELOW_PROBABILITY


def test_a_threshold_of_the_settings_replaces_those_of_the_card():
    settings = SETTINGS.model_copy(update={"probability_threshold": 0.95})
    assert one(settings=settings)[0].reason is Reason.BELOW_PROBABILITY


def test_the_cool_down_silences_a_symbol_and_then_ends():
    first, state = one()
    assert first.is_signal
    for second in (1, 9):
        verdict, state = one(state, at_ns=T0 + second * SECOND_NS)
        assert verdict.reason is Reason.COOL_DOWN
    assert one(state, at_ns=T0 + 10 * SECOND_NS)[0].is_signal


def test_a_redelivered_boundary_is_a_duplicate_under_the_same_id_and_changes_nothing():
    first, state = one()
    again, after = one(state)
    assert again.reason is Reason.DUPLICATE
    assert again.id == first.id
    assert after.to_bytes() == state.to_bytes()
    older, _ = one(state, at_ns=T0 - SECOND_NS)
    assert older.reason is Reason.DUPLICATE


def test_the_kill_switch_and_the_breaker_come_by_control_rows_and_go_by_them():
    for control, reason in (
        (CONTROL_KILL, Reason.KILL_SWITCH),
        (CONTROL_BREAKER, Reason.BREAKER),
    ):
        thrown = apply_control(PolicyState(), control_row(T0, 1, control, 1))
        assert one(thrown)[0].reason is reason
        assert one(apply_control(thrown, control_row(T0, 2, control, 0)))[0].is_signal


PROBABILITY = st.one_of(st.just(np.nan), st.floats(0, 1, width=32))


@st.composite
def markets(draw, n=3):
    """Changes to a boundary of n symbols, and scores for it: good, bad and missing values mixed."""
    inputs = boundary(n).bill_inputs.copy()
    for i in range(n):
        inputs["ask"][i] += draw(st.floats(0, 0.5))
        inputs["volatility_1s"][i] = draw(st.one_of(st.just(np.nan), st.floats(0, 0.01)))
        inputs["volume_60s"][i] = draw(st.floats(0, 1e7))
        inputs["ask_notional"][i] = draw(st.floats(0, 1e6))
    states = [draw(st.sampled_from([RESYNCING, SYNCED, SYNCED, STALE])) for _ in range(n)]
    p = np.array([[draw(PROBABILITY), draw(PROBABILITY)] for _ in range(n)], np.float32)
    return {"bill_inputs": inputs, "book_state": np.array(states, np.uint8)}, p


def judged(changes, p, *, settings=SETTINGS, state=START, columns=slice(None)):
    whole = boundary(len(p), **changes)
    part = SimpleNamespace(
        boundary_ns=whole.boundary_ns,
        **{
            name: getattr(whole, name)[columns]
            for name in ("warm", "book_state", "book_epoch", "tape_epoch", "bill_inputs")
        },
    )
    return judge(
        boundary=part,
        symbols=[f"S{i}USDT" for i in range(len(p))][columns],
        probabilities=p[columns],
        model=MODEL,
        session_domain=DOMAIN,
        state=state,
        settings=settings,
    )


@effort(max_examples=50, deadline=None)
@given(markets())
def test_no_signal_leaves_a_book_that_is_not_synced(market):
    changes, p = market
    for state, verdict in zip(changes["book_state"], judged(changes, p)[0], strict=True):
        assert state == SYNCED or not verdict.is_signal


@effort(max_examples=50, deadline=None)
@given(
    markets(),
    st.sampled_from(["taker_fee_bps", "notional", "impact_coefficient", "latency_ms"]),
    st.floats(1.0, 50.0),
)
def test_raising_costs_never_turns_a_refusal_into_a_signal(market, field, factor):
    changes, p = market
    dearer = COSTS.model_copy(update={field: getattr(COSTS, field) * factor})
    cheap = SETTINGS.model_copy(update={"label_costs": COSTS})
    dear = cheap.model_copy(update={"costs": dearer})
    for before, after in zip(
        judged(changes, p, settings=cheap)[0], judged(changes, p, settings=dear)[0], strict=True
    ):
        assert before.is_signal or not after.is_signal


@effort(max_examples=50, deadline=None)
@given(markets(), st.integers(0, 3))
def test_any_split_of_the_symbols_over_calls_gives_the_same_verdicts_and_state(market, cut):
    changes, p = market
    whole, state = judged(changes, p)
    left, between = judged(changes, p, columns=slice(0, cut))
    right, after = judged(changes, p, columns=slice(cut, None), state=between)
    assert left + right == whole
    assert after.to_bytes() == state.to_bytes()


@effort(max_examples=50, deadline=None)
@given(markets())
def test_every_verdict_is_strict_json_and_has_a_bill_or_none(market):
    for verdict in judged(*market)[0]:
        given_ = verdict.as_dict()
        text = orjson.dumps(given_)
        assert orjson.loads(text) == given_  # a NaN would come back as null
        assert verdict.bill is None or verdict.bill["total_bps"] >= 0


def test_scores_of_another_shape_are_an_error():
    with pytest.raises(ModelError, match="scores"):
        one(p=(0.5,))
