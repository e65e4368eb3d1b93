"""Expired models are silent, and several models at one boundary judge as each would alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from foreshock.errors import ModelError
from foreshock.market.clock import SECOND_NS
from foreshock.signals.gate import ModelFacts, Panel, Reason, judge
from foreshock.signals.policy import PolicyState
from tests.unit.signals.test_gate import DOMAIN, MODEL, SETTINGS, START, T0, boundary, one

DAY_S = 86_400.0
AGED = replace(MODEL, trained_to_ns=T0 - 86_400 * SECOND_NS, max_age_s=DAY_S)


def test_a_model_speaks_to_the_end_of_its_age_and_not_a_nanosecond_longer() -> None:
    assert one(model=AGED)[0].is_signal
    verdict, _ = one(model=AGED, at_ns=T0 + 1)
    assert verdict.reason is Reason.MODEL_EXPIRED and verdict.probabilities is None
    assert verdict.probability is None and verdict.utility_bps is None
    assert "24.00 h old > 24 h" in verdict.detail and verdict.model_version == MODEL.version


def test_a_model_that_names_no_age_or_no_end_of_training_never_expires() -> None:
    for model in (replace(AGED, max_age_s=0.0), replace(AGED, trained_to_ns=0)):
        assert one(model=model, at_ns=T0 + 10**17)[0].is_signal
    assert replace(AGED, trained_to_ns=0).age_s(T0) is None
    assert AGED.age_s(T0) == DAY_S


def test_a_boundary_from_before_the_training_is_no_reason_to_be_silent() -> None:
    assert one(model=AGED, at_ns=AGED.trained_to_ns - 1)[0].is_signal


def test_the_domain_is_told_before_the_age() -> None:
    elsewhere = replace(AGED, domain=AGED.domain.model_copy(update={"source": "binance"}))
    assert one(model=elsewhere, at_ns=T0 + 1)[0].reason is Reason.MODEL_DOMAIN


def facts(number: int, horizons: int, required: int) -> ModelFacts:
    mask = np.zeros(3, bool)
    mask[:required] = True
    return ModelFacts(
        f"0.0.{number}", tuple(60 * (h + 1) for h in range(horizons)), (0.5,) * horizons,
        MODEL.domain, mask, scope=f"symbol:S{number}", trained_to_ns=T0 - number * 10**9,
        max_age_s=3.0,
    )  # fmt: skip


@effort(max_examples=80, deadline=None)
@given(st.data())
def test_a_panel_judges_each_symbol_as_its_own_model_would_alone(data) -> None:
    n, count = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    models = tuple(
        facts(i, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))) for i in range(count)
    )
    speaker = np.array(data.draw(st.lists(st.integers(-1, count - 1), min_size=n, max_size=n)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    width = max(len(model.horizons_s) for model in models)
    scores = np.full((n, width), np.nan, np.float32)
    for row, number in enumerate(speaker):
        if number >= 0:
            k = len(models[number].horizons_s)
            scores[row, :k] = random.random(k)
    closed = boundary(n, T0 + data.draw(st.integers(0, 2)) * SECOND_NS,
                      warm=random.random((n, 3)) < 0.9)  # fmt: skip
    names = [f"S{i}" for i in range(n)]
    state = PolicyState(last_signal_ns={"S0": T0 - SECOND_NS}, killed=frozenset({"S1"}))
    panel = Panel(models, speaker.astype(np.int64))
    together, after = judge(
        boundary=closed, symbols=names, probabilities=scores, model=panel, session_domain=DOMAIN,
        state=state, settings=SETTINGS,
    )  # fmt: skip
    signalled = dict(state.last_signal_ns)
    for row in range(n):
        model = panel.of(row)
        own = None if model is None else scores[row : row + 1, : len(model.horizons_s)]
        alone, _ = judge(
            boundary=_row(closed, row), symbols=[names[row]], probabilities=own, model=model,
            session_domain=DOMAIN, state=state, settings=SETTINGS,
        )  # fmt: skip
        assert together[row].as_dict() == alone[0].as_dict()
        if alone[0].is_signal:
            signalled[names[row]] = closed.boundary_ns
    assert [verdict.symbol for verdict in together] == names
    assert after.last_signal_ns == signalled
    assert after.last_judged_ns == dict.fromkeys(names, closed.boundary_ns)


def _row(closed, row):
    names = ("vectors", "warm", "book_state", "book_epoch", "tape_epoch", "bill_inputs", "rows")
    return replace(closed, **{name: getattr(closed, name)[row : row + 1] for name in names})


def test_a_panel_for_other_symbols_is_refused() -> None:
    with pytest.raises(ModelError, match="a panel for 1 symbols, asked for 2"):
        judge(
            boundary=boundary(2), symbols=["A", "B"], probabilities=None,
            model=Panel((MODEL,), np.zeros(1, np.int64)), session_domain=DOMAIN, state=START,
            settings=SETTINGS,
        )  # fmt: skip
