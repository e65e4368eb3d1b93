"""pipelines.scopes: whom models are for, and that all are cut at the same times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, check_fold, walk_forward
from pipelines.scopes import Scope, scopes_of
from tests.reference.training import make_set

ALL = SearchSettings(scopes=("symbol", "pooled", "group"))
DATA = make_set(steps=1200, symbols=tuple(f"{c}USDT" for c in "EDCBA"))
FOLDS = walk_forward(DATA.t0_ns, DATA.end_ns, WalkForwardSettings(folds=2))


def named(scopes: list[Scope]) -> dict[str, set[str]]:
    return {scope.name: {DATA.symbols[i] for i in scope.symbols} for scope in scopes}


def test_pooled_groups_and_symbols_in_this_order() -> None:
    bill = DATA.bill_bps.copy()
    for number, bps in enumerate((5.0, 1.0, 9.0, 3.0, 7.0)):  # E D C B A
        bill[DATA.symbol == number] = bps
    found = named(scopes_of(replace(DATA, bill_bps=bill), FOLDS, ALL))
    assert list(found) == [
        "pooled", "group:low", "group:middle", "group:high",
        "symbol:AUSDT", "symbol:BUSDT", "symbol:CUSDT", "symbol:DUSDT", "symbol:EUSDT",
    ]  # fmt: skip
    assert found["pooled"] == set(DATA.symbols)
    assert found["group:low"] == {"CUSDT", "AUSDT"}  # the dearest
    assert found["group:middle"] == {"EUSDT"}
    assert found["group:high"] == {"BUSDT", "DUSDT"}


def test_liquidity_is_read_from_the_first_training_part_alone() -> None:
    X = DATA.X.copy()
    X[:, 3] = DATA.symbol
    told = ALL.model_copy(update={"liquidity": ("nothing", "feature_3")})
    before = named(scopes_of(replace(DATA, X=X), FOLDS, told))
    assert before["group:low"] == {"EUSDT", "DUSDT"}
    later = DATA.t0_ns > DATA.t0_ns[FOLDS[0].train].max()
    X[later, 3] = -X[later, 3]
    assert named(scopes_of(replace(DATA, X=X), FOLDS, told)) == before


def test_groups_may_be_given_and_are_checked() -> None:
    given = SearchSettings(scopes=("group",), groups={"big": ("AUSDT",), "rest": ("BUSDT",)})
    assert named(scopes_of(DATA, FOLDS, given)) == {
        "group:big": {"AUSDT"}, "group:rest": {"BUSDT"}
    }  # fmt: skip
    for groups, why in (
        ({"a": ("AUSDT",), "b": ("AUSDT",)}, "'AUSDT'. named twice"),
        ({"a": ("XUSDT",)}, "no rows of .'XUSDT'"),
    ):
        with pytest.raises(DatasetError, match=why):
            scopes_of(DATA, FOLDS, SearchSettings(scopes=("group",), groups=groups))
    few = make_set(steps=1200, symbols=("AUSDT", "BUSDT"))
    with pytest.raises(DatasetError, match="2 symbols make no 3 groups"):
        scopes_of(few, walk_forward(few.t0_ns, few.end_ns, WalkForwardSettings()), ALL)


def test_a_scopes_fold_is_the_wholes_with_its_own_rows() -> None:
    scopes = scopes_of(DATA, FOLDS, ALL)
    for whole in FOLDS:
        for scope in scopes:
            own = scope.fold(whole, DATA)
            check_fold(own, DATA.t0_ns, DATA.end_ns)
            for name, rows in own.parts.items():
                mine = set(scope.rows(DATA).tolist())
                assert rows.tolist() == [r for r in whole.parts[name].tolist() if r in mine]
    singles = [s.fold(FOLDS[0], DATA).test for s in scopes if s.name.startswith("symbol:")]
    assert sorted(np.concatenate(singles).tolist()) == FOLDS[0].test.tolist()
