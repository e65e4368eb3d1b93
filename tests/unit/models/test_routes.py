"""Who speaks for a symbol: against a slow twin, and a table by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.models.base import TIERS, Domain, ModelCard
from foreshock.models.routes import covers, route
from tests.unit.serve.material import DOMAIN

BARE = {
    "version": "1", "horizons_s": (60,), "feature_names": ("a",), "required_features": (),
    "layout_fingerprint": "", "label_fingerprint": "", "data_fingerprint": "", "thresholds": (0.5,),
    "approved": (True,), "base_rates": (0.1,), "metrics": {}, "spans_ns": {}, "trials": 1,
    "settings": {}, "promoted": True, "reason": "",
}  # fmt: skip


def card(scope: str = "pooled", tier: str = "book", symbols: tuple[str, ...] = (), **more: str):
    domain = Domain(**{**DOMAIN.model_dump(), "tier": tier, **more})
    return ModelCard(name=scope, domain=domain, scope=scope, symbols=symbols, **BARE)


def test_the_narrowest_model_speaks() -> None:
    cards = {
        "all": card(),
        "big": card("group:big", symbols=("BTCUSDT", "ETHUSDT")),
        "btc": card("symbol:BTCUSDT", symbols=("BTCUSDT",)),
    }
    assert [route(cards, DOMAIN, s) for s in ("BTCUSDT", "ETHUSDT", "DOGEUSDT")] == [
        "btc", "big", "all"
    ]  # fmt: skip
    assert route(cards, DOMAIN, None) == "all"
    del cards["all"]
    assert route(cards, DOMAIN, "DOGEUSDT") is None and route(cards, DOMAIN, None) is None


def test_a_narrow_model_of_fewer_inputs_goes_before_a_wide_one_of_more() -> None:
    cards = {"all": card(), "btc": card("symbol:BTCUSDT", tier="bars")}
    assert route(cards, DOMAIN, "BTCUSDT") == "btc"
    assert route({"bars": card(tier="bars"), "tape": card(tier="tape")}, DOMAIN, "X") == "tape"


def test_a_model_of_another_domain_or_of_more_inputs_never_speaks() -> None:
    tape = DOMAIN.model_copy(update={"tier": "tape"})
    assert route({"all": card()}, tape, "BTCUSDT") is None
    assert route({"all": card(market="binance-spot")}, DOMAIN, "BTCUSDT") is None


def test_a_pooled_model_speaks_for_symbols_that_it_was_not_trained_on() -> None:
    assert covers(card(symbols=("BTCUSDT",)), "DOGEUSDT")
    assert not covers(card("group:big", symbols=("BTCUSDT",)), "DOGEUSDT")


SCOPES = st.sampled_from(["pooled", "group:a", "group:b", "symbol:S0", "symbol:S1"])


@given(
    st.lists(st.tuples(SCOPES, st.sampled_from(TIERS), st.sets(st.sampled_from(["S0", "S1"]))),
             max_size=6),
    st.sampled_from(TIERS), st.sampled_from(["S0", "S1", "S2", None]),
)  # fmt: skip
def test_routes_are_those_of_a_walk_through_the_rules(given_, tier, symbol) -> None:
    cards = {f"m{i}": card(scope, t, tuple(sorted(s))) for i, (scope, t, s) in enumerate(given_)}
    where = DOMAIN.model_copy(update={"tier": tier})
    wanted = None
    for kind in ("symbol:", "group:", "pooled"):
        for asked in reversed(TIERS):
            for name in sorted(cards):
                one = cards[name]
                fits = one.scope.startswith(kind) and one.domain.tier == asked
                fits = fits and TIERS.index(asked) <= TIERS.index(tier)
                if kind == "symbol:":
                    fits = fits and one.scope == f"symbol:{symbol}"
                if kind == "group:":
                    fits = fits and symbol in one.symbols
                if fits and wanted is None:
                    wanted = name
    assert route(cards, where, symbol) == wanted


@pytest.mark.parametrize("scope", ["symbol:BTC", "symbol:BTCUSDTX"])
def test_a_symbol_is_itself_and_no_other_that_begins_alike(scope: str) -> None:
    assert not covers(card(scope), "BTCUSDT")
