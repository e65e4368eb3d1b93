"""The bill against a twin that prices one symbol with plain floats, and its rules."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock.costs.total import BILL, COMPONENTS, CostSettings, bill, why_unpriced
from foreshock.engine.outcomes import BILL_INPUT
from foreshock.market.instruments import MARKETS
from foreshock.market.walk import LADDER_NOTIONALS

WALK = [0.0, 0.1, 0.3, 0.8, 2.0, 5.0, 9.0, math.nan, math.nan]
GOOD = {
    "bid": 99.0,
    "ask": 101.0,
    "last": 100.0,
    "bid_notional": 50_000.0,
    "ask_notional": 20_000.0,
    "volatility_1s": 1e-4,
    "volume_60s": 100_000.0,
    "funding_rate": 0.0004,
    "funding_in_s": 100.0,
    "mid_move_100ms_bps": 0.2,
    "mid_move_1s_bps": 0.9,
    "ask_walk_bps": WALK,
    "bid_walk_bps": [0.5 * w for w in WALK],
}


def inputs(*changes: dict[str, object]) -> np.ndarray:
    out = np.zeros(len(changes), dtype=BILL_INPUT)
    for i, change in enumerate(changes):
        for name, value in {**GOOD, **change}.items():
            out[name][i] = value
    return out


def slow_walk(notional: float, walk: list[float], unit: float, volume: float, d: float) -> float:
    """Mean slippage, piece by piece."""

    def lawful(size: float) -> float:  # in money, over the unit
        share = size / volume
        return size * (share**d if share <= 1 else math.sqrt(share))

    points = [(0.0, 0.0)]
    points += [(q, w) for q, w in zip(LADDER_NOTIONALS, walk, strict=True) if w == w]
    for (q0, w0), (q1, w1) in pairwise(points):
        if notional <= q1:
            return w0 + (w1 - w0) * (notional - q0) / (q1 - q0)
    held, w = points[-1]
    pace = unit
    if held * w > 0:
        before, w0 = points[-2]
        trust = 0.2 * lawful(held)
        pace = (held * w - before * w0 + unit * trust) / (lawful(held) - lawful(before) + trust)
    sizes = [min(max(volume, held), notional), notional]
    beyond = [(held * w + pace * (lawful(size) - lawful(held))) / size for size in sizes]
    return max(w, *beyond) if unit > 0 else math.nan


def slow_bill(row: dict, settings: CostSettings, horizon_s: float) -> dict[str, float]:
    """One symbol, by hand."""
    mid = (row["bid"] + row["ask"]) / 2
    taken = (1 - settings.maker_share) * settings.notional
    unit = settings.impact_coefficient * row["volatility_1s"] * math.sqrt(60) * 1e4
    of_law = (unit, row["volume_60s"], settings.impact_exponent)
    walks = (
        slow_walk(taken, list(row[side]), *of_law) for side in ("ask_walk_bps", "bid_walk_bps")
    )
    payments, due = 0, row["funding_in_s"]
    while due <= horizon_s:
        payments, due = payments + 1, due + settings.funding_interval_h * 3600
    slope = math.log10(max(row["mid_move_1s_bps"] / row["mid_move_100ms_bps"], 1.0))
    makers, takers = settings.maker_share, 1 - settings.maker_share
    kept = makers * settings.maker_capture
    out = {
        "fees_bps": 2 * (makers * settings.fees.maker_bps + takers * settings.fees.taker_bps),
        "spread_bps": (takers - kept) * (row["ask"] - row["bid"]) / mid * 1e4,
        "impact_bps": takers * sum(walks),
        "funding_bps": payments * max(row["funding_rate"], 0) * 1e4,
        "latency_bps": takers * row["mid_move_100ms_bps"] * (settings.latency_ms / 100) ** slope,
    }
    out["total_bps"] = sum(out.values())
    out["capacity"] = settings.max_volume_share * row["volume_60s"]
    return out


@settings(deadline=None)
@given(
    bid=st.floats(1e-6, 1e5),
    spread=st.floats(0, 0.05),
    steps=st.lists(st.floats(0, 5), min_size=9, max_size=9),
    held=st.integers(0, 9),
    volatility=st.floats(0, 0.01),
    volume=st.floats(1e3, 1e9),
    exponent=st.floats(0.5, 2.0),
    rate=st.floats(-0.01, 0.01),
    due_s=st.floats(0.001, 30_000),
    moves=st.tuples(st.floats(1e-3, 5), st.floats(1e-3, 5)),
    horizon_s=st.sampled_from([1, 60, 900, 90_000]),
    notional=st.floats(50, 3e6),
    makers=st.floats(0, 0.99),
    capture=st.floats(-2, 1),
    latency_ms=st.floats(1, 1_000),
)
def test_the_bill_is_what_the_plain_twin_says(
    bid, spread, steps, held, volatility, volume, exponent, rate, due_s, moves, horizon_s, notional,
    makers, capture, latency_ms,
):  # fmt: skip
    walk = [w if k < held else math.nan for k, w in enumerate(np.cumsum(steps).tolist())]
    row = {
        **GOOD,
        "bid": bid,
        "ask": bid * (1 + spread),
        "ask_walk_bps": walk,
        "volatility_1s": volatility,
        "volume_60s": volume,
        "funding_rate": rate,
        "funding_in_s": due_s,
        "mid_move_100ms_bps": moves[0],
        "mid_move_1s_bps": moves[1],
    }
    chosen = CostSettings(
        notional=notional, maker_share=makers, maker_capture=capture, latency_ms=latency_ms,
        impact_exponent=exponent, max_volume_share=1e4,
    )  # fmt: skip
    fast = bill(inputs(row), chosen, horizon_s)[0]
    slow = slow_bill(row, chosen, horizon_s)
    for name in BILL.names:
        assert fast[name] == pytest.approx(slow[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def test_several_horizons_differ_in_funding_alone():
    several = bill(inputs({}, {}), CostSettings(), (60, 900))
    assert several.shape == (2, 2)
    assert several["funding_bps"].tolist() == [[0.0, 4.0]] * 2
    for name in ("fees_bps", "spread_bps", "impact_bps", "latency_bps", "capacity"):
        assert (several[name][:, 0] == several[name][:, 1]).all()
    assert (bill(inputs({}, {}), CostSettings(), 900.0) == several[:, 1]).all()


@pytest.mark.parametrize(
    "unknown",
    [
        {"bid": 0.0},
        {"bid": math.nan},
        {"bid": 102.0},
        {"volume_60s": 0.0},
        {"volume_60s": 3_999.0},
        {"ask_notional": 0.0},
        {"bid_notional": 0.0},
        {"volatility_1s": math.nan, "mid_move_100ms_bps": math.nan, "mid_move_1s_bps": math.nan},
        {"volatility_1s": math.nan, "ask_walk_bps": math.nan},
        {"volatility_1s": 0.0, "ask_walk_bps": math.nan},
        {"ask": math.inf},
        {"bid": -99.0},
        {"bid": math.inf, "ask": math.inf},
        {"volume_60s": -1.0},
        {"volume_60s": math.nan},
        {"volume_60s": math.inf},
        {"volatility_1s": math.inf, "ask_walk_bps": math.nan},
        {"funding_rate": math.inf, "funding_in_s": 30.0},
        {"mid_move_100ms_bps": math.inf},
    ],
)
def test_what_cannot_be_known_makes_the_total_unknown_for_that_symbol_alone(unknown):
    total = bill(inputs({}, unknown), CostSettings(), 60)["total_bps"]
    assert np.isfinite(total[0])
    assert np.isnan(total[1])


def test_more_than_a_share_of_the_last_minutes_volume_has_no_bill_and_says_how_much_would():
    row = inputs({"volume_60s": 8_000.0})
    assert bill(row, CostSettings(notional=2_000.0), 60)["total_bps"][0] > 0
    refused = bill(row, CostSettings(notional=2_000.1), 60)[0]
    assert refused["capacity"] == 2_000.0
    assert np.isnan(refused["impact_bps"]) and np.isnan(refused["total_bps"])
    assert bill(row, CostSettings(notional=4e3, max_volume_share=0.5), 60)["total_bps"][0] > 0


def test_without_a_book_the_laws_price_impact_and_latency():
    row = inputs(
        {
            "ask_notional": math.inf, "bid_notional": math.inf, "ask_walk_bps": math.nan,
            "bid_walk_bps": math.nan, "mid_move_100ms_bps": math.nan, "mid_move_1s_bps": math.nan,
        }
    )  # fmt: skip
    got = bill(row, CostSettings(), 60)[0]
    assert got["impact_bps"] == pytest.approx(2 * 1.35 * math.sqrt(60) * (1e3 / 1e5) ** 1.1)
    root = bill(row, CostSettings(impact_coefficient=1.0, impact_exponent=0.5), 60)[0]
    assert root["impact_bps"] == pytest.approx(2 * math.sqrt(60) * math.sqrt(1e3 / 1e5))
    assert got["latency_bps"] == pytest.approx(2 * math.sqrt(0.1) / math.sqrt(2 * math.pi))


def test_a_maker_alone_pays_his_fee_and_funding_and_nothing_else():
    makers = CostSettings(maker_share=1.0)
    row = bill(inputs({}), makers, 900)[0]
    assert row["fees_bps"] == 4.0 and row["funding_bps"] == 4.0
    assert row["spread_bps"] == row["impact_bps"] == row["latency_bps"] == 0.0
    caught = CostSettings(maker_share=1.0, maker_capture=1.0)
    assert bill(inputs({}), caught, 60)["spread_bps"][0] == pytest.approx(-200.0)


@given(
    field=st.sampled_from(["taker_fee_bps", "notional", "impact_coefficient", "latency_ms"]),
    factor=st.floats(1.0, 20.0),
)
def test_a_dearer_setting_never_makes_the_bill_smaller(field, factor):
    base = CostSettings(taker_fee_bps=5.0)
    dearer = base.model_copy(update={field: getattr(base, field) * factor})
    row = inputs({})
    before, after = (bill(row, each, 60)["total_bps"][0] for each in (base, dearer))
    assert after >= before - 1e-12


def test_the_version_changes_with_any_setting_and_only_then():
    base = CostSettings()
    assert base.version == CostSettings(latency_ms=100.0).version
    changes = {
        "funding_rate_when_unknown": None, "fee_market": "binance-spot", "fee_tier": "vip1",
        "pays_in_bnb": True, "maker_share": 0.5, "maker_capture": 0.5, "impact_exponent": 0.5,
    }  # fmt: skip
    changes |= {name: 3.25 for name in CostSettings.model_fields if name not in changes}
    versions = {CostSettings(**{name: value}).version for name, value in changes.items()}
    assert len(versions | {base.version}) == len(CostSettings.model_fields) + 1


def test_the_total_is_the_sum_of_its_components():
    row = bill(inputs({}), CostSettings(), 60)[0]
    assert row["total_bps"] == pytest.approx(sum(row[name] for name in COMPONENTS), rel=1e-12)


def test_every_market_has_a_table_to_be_charged_by():
    assert set(get_args(CostSettings.model_fields["fee_market"].annotation)) == set(MARKETS)


def test_settings_are_frozen_explained_and_refuse_the_unknown():
    with pytest.raises(ValidationError):
        CostSettings(taker_fee=1.0)
    for unknown in ({"fee_tier": "vip10"}, {"fee_market": "binance_spot"}):
        with pytest.raises(ValidationError):
            CostSettings(**unknown)
    with pytest.raises(ValidationError):
        CostSettings().notional = 5.0
    assert all(field.description for field in CostSettings.model_fields.values())


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_size_that_is_none_is_refused_by_name(size):
    with pytest.raises(ValidationError, match="notional"):
        CostSettings(notional=size)


@pytest.mark.parametrize("size", [1e12, 1e100, 1e308])
def test_an_absurd_size_has_no_bill_and_is_told_by_how_much_it_is_too_large(size):
    row = bill(inputs({}), CostSettings(notional=size), 60)[0]
    assert np.isnan(row["total_bps"])
    assert "exceeds the capacity 25,000" in why_unpriced(row, CostSettings(notional=size))


def test_a_bill_without_a_total_says_why():
    def why(change: dict, **chosen: object) -> str:
        settings = CostSettings(**chosen)
        return why_unpriced(bill(inputs(change), settings, 900)[0], settings)

    assert why({}) == ""
    assert why({"volume_60s": 6_000.0}, notional=2_000) == (
        "notional 2,000 exceeds the capacity 1,500 (0.25 of the last minute's volume) by 500"
    )
    assert why({"volume_60s": 0.0}) == (
        "not known: impact_bps, capacity (nothing traded in the last minute)"
    )
    assert why({"bid": math.nan}) == "not known: spread_bps"
    both = why({"volume_60s": 400.0, "funding_rate": math.nan}, funding_rate_when_unknown=None)
    assert both.endswith("by 900; not known: funding_bps")
    assert why({"ask_notional": 0.0, "volume_60s": 400.0}).endswith("by 900")


@given(
    market=st.sampled_from(MARKETS),
    tier=st.integers(0, 9),
    bnb=st.booleans(),
    makers=st.floats(0, 1),
    taker=st.none() | st.floats(0, 20),
    maker=st.none() | st.floats(-2, 20),
)
def test_the_table_tells_the_fees_that_the_bill_charges_to_the_bit(
    market, tier, bnb, makers, taker, maker
):
    chosen = CostSettings.for_market(
        market, fee_tier=f"vip{tier}", pays_in_bnb=bnb, maker_share=makers,
        taker_fee_bps=taker, maker_fee_bps=maker,
    )  # fmt: skip
    table = chosen.table
    charged = bill(inputs({}), chosen, 60)[0]
    assert table["fees"]["round_trip_bps"] == float(charged["fees_bps"])
    sides = (table["fees"]["maker_bps"], table["fees"]["taker_bps"])
    assert sides == chosen.fees
    assert 2.0 * (makers * sides[0] + (1.0 - makers) * sides[1]) == float(charged["fees_bps"])
    again = {k: v for k, v in table.items() if k not in ("fees", "bill_version")}
    assert CostSettings(**again).version == table["bill_version"]
