"""The bill against a twin that prices one symbol with plain floats, and its rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock.costs.total import BILL, COMPONENTS, CostSettings, bill
from foreshock.engine.outcomes import BILL_INPUT, DEPTH_BPS

GOOD = {
    "bid": 99.0,
    "ask": 101.0,
    "last": 100.0,
    "bid_notional": 50_000.0,
    "ask_notional": 20_000.0,
    "volatility_1s": 1e-4,
    "volume_60s": 100_000.0,
    "funding_rate": 0.0004,
}


def inputs(*changes: dict[str, float]) -> np.ndarray:
    out = np.zeros(len(changes), dtype=BILL_INPUT)
    for i, change in enumerate(changes):
        for name, value in {**GOOD, **change}.items():
            out[name][i] = value
    return out


def slow_bill(row: dict[str, float], settings: CostSettings, horizon_s: float) -> dict[str, float]:
    """One symbol, by hand."""
    mid = (row["bid"] + row["ask"]) / 2
    law = (
        settings.impact_coefficient
        * row["volatility_1s"]
        * math.sqrt(60)
        * math.sqrt(settings.notional / row["volume_60s"])
    )
    sides = [
        max(law * 1e4, settings.notional / row[side] * settings.depth_bps / 2)
        for side in ("ask_notional", "bid_notional")
    ]
    out = {
        "fees_bps": settings.taker_fee_bps + settings.taker_fee_bps,
        "spread_bps": (row["ask"] - row["bid"]) / mid * 1e4,
        "impact_bps": sum(sides),
        "funding_bps": max(row["funding_rate"], 0)
        * horizon_s
        / (settings.funding_interval_h * 3600)
        * 1e4,
        "latency_bps": 2
        * row["volatility_1s"]
        * math.sqrt(settings.latency_ms / 1e3)
        / math.sqrt(2 * math.pi)
        * 1e4,
    }
    out["total_bps"] = sum(out.values())
    return out


@given(
    bid=st.floats(1e-6, 1e5),
    spread=st.floats(0, 0.05),
    bid_notional=st.floats(1.0, 1e8),
    ask_notional=st.floats(1.0, 1e8),
    volatility=st.floats(0, 0.01),
    volume=st.floats(1.0, 1e9),
    rate=st.floats(-0.01, 0.01),
    horizon_s=st.sampled_from([1, 60, 900]),
)
def test_the_bill_is_what_the_plain_twin_says(
    bid, spread, bid_notional, ask_notional, volatility, volume, rate, horizon_s
):
    row = {
        "bid": bid,
        "ask": bid * (1 + spread),
        "bid_notional": bid_notional,
        "ask_notional": ask_notional,
        "volatility_1s": volatility,
        "volume_60s": volume,
        "funding_rate": rate,
    }
    settings = CostSettings()
    fast = bill(inputs(row), settings, horizon_s)[0]
    slow = slow_bill(row, settings, horizon_s)
    for name in BILL.names:
        assert fast[name] == pytest.approx(slow[name], rel=1e-9, abs=1e-12)


def test_several_horizons_differ_in_funding_alone():
    several = bill(inputs({}, {}), CostSettings(), (60, 900))
    assert several.shape == (2, 2)
    assert (several["funding_bps"][:, 1] == 15 * several["funding_bps"][:, 0]).all()
    for name in ("fees_bps", "spread_bps", "impact_bps", "latency_bps"):
        assert (several[name][:, 0] == several[name][:, 1]).all()
    assert (bill(inputs({}, {}), CostSettings(), 900.0) == several[:, 1]).all()


@pytest.mark.parametrize(
    "unknown",
    [
        {"bid": 0.0},
        {"bid": math.nan},
        {"bid": 102.0},
        {"volatility_1s": math.nan},
        {"volume_60s": 0.0},
        {"ask_notional": 0.0},
        {"bid_notional": 0.0},
    ],
)
def test_what_cannot_be_known_makes_the_total_unknown_for_that_symbol_alone(unknown):
    total = bill(inputs({}, unknown), CostSettings(), 60)["total_bps"]
    assert np.isfinite(total[0])
    assert np.isnan(total[1])


def test_an_unknown_funding_rate_is_assumed_refused_or_of_no_matter():
    row = inputs({"funding_rate": math.nan})
    assert bill(row, CostSettings(), 8 * 3600)["funding_bps"][0] == pytest.approx(1.0)
    refusing = CostSettings(funding_rate_when_unknown=None)
    assert np.isnan(bill(row, refusing, 60)["total_bps"][0])
    spot = CostSettings.for_market("binance-spot", funding_rate_when_unknown=None)
    assert bill(row, spot, 60)["funding_bps"][0] == 0.0


def test_negative_funding_is_not_counted_as_income():
    assert bill(inputs({"funding_rate": -0.01}), CostSettings(), 900)["funding_bps"][0] == 0.0


@given(
    field=st.sampled_from(["taker_fee_bps", "notional", "impact_coefficient", "latency_ms"]),
    factor=st.floats(1.0, 100.0),
)
def test_a_dearer_setting_never_makes_the_bill_smaller(field, factor):
    base = CostSettings()
    dearer = base.model_copy(update={field: getattr(base, field) * factor})
    row = inputs({})
    assert bill(row, dearer, 60)["total_bps"][0] >= bill(row, base, 60)["total_bps"][0]


def test_the_version_changes_with_any_setting_and_only_then():
    base = CostSettings()
    assert base.version == CostSettings(taker_fee_bps=5.0).version
    changes = {"funding_rate_when_unknown": None}
    changes |= {name: 3.25 for name in CostSettings.model_fields if name not in changes}
    versions = {CostSettings(**{name: value}).version for name, value in changes.items()}
    assert len(versions | {base.version}) == len(CostSettings.model_fields) + 1


def test_the_total_is_the_sum_of_its_components():
    row = bill(inputs({}), CostSettings(), 60)[0]
    assert row["total_bps"] == pytest.approx(sum(row[name] for name in COMPONENTS), rel=1e-12)


def test_the_ladder_is_summed_as_far_as_the_engine_does_it():
    assert CostSettings().depth_bps == DEPTH_BPS


def test_settings_are_frozen_explained_and_refuse_the_unknown():
    with pytest.raises(ValidationError):
        CostSettings(taker_fee=1.0)
    with pytest.raises(ValidationError):
        CostSettings().notional = 5.0
    assert all(field.description for field in CostSettings.model_fields.values())
