"""Faults strike whom they were told to, as often or as long as told, and are counted."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from foreshock.simulation.faults import FRAME_KINDS, KINDS, Fault, Faults, plan_of

SECOND_NS = 1_000_000_000


def test_a_fault_with_a_count_strikes_so_often_and_only_its_symbol_and_family() -> None:
    faults = Faults()
    told = faults.tell(Fault(kind="drop", symbol="AUSDT", family="trade", count=2), 0)
    assert not faults.strike(FRAME_KINDS, "BUSDT", "trade", 1)
    assert not faults.strike(FRAME_KINDS, "AUSDT", "depth", 1)
    struck = [bool(faults.strike(FRAME_KINDS, "AUSDT", "trade", k)) for k in range(4)]
    assert struck == [True, True, False, False]
    assert told.hits == 2 and faults.active == []
    assert faults.facts()[0]["hits"] == 2


def test_a_fault_with_seconds_lasts_so_long_and_count_zero_ends_it_sooner() -> None:
    faults = Faults()
    faults.tell(Fault(kind="silence", seconds=2.0), 0)
    assert faults.strike(FRAME_KINDS, "AUSDT", "trade", 2 * SECOND_NS - 1)
    assert not faults.strike(FRAME_KINDS, "AUSDT", "trade", 2 * SECOND_NS)
    faults.tell(Fault(kind="silence", count=10**9), 3 * SECOND_NS)
    assert faults.strike(FRAME_KINDS, "AUSDT", "trade", 3 * SECOND_NS)
    faults.tell(Fault(kind="silence", count=0), 3 * SECOND_NS)
    assert not faults.strike(FRAME_KINDS, "AUSDT", "trade", 3 * SECOND_NS)


def test_damage_follows_from_the_seed_and_always_damages() -> None:
    frame = b'{"e":"trade","p":"1.50","q":"2"}'
    for kind in ("truncate", "corrupt"):
        ways = [[Faults(seed).damaged(kind, frame) for _ in range(5)] for seed in (1, 1, 2)]
        assert ways[0] == ways[1] != ways[2]
        faults = Faults(3)
        assert all(faults.damaged(kind, frame) != frame for _ in range(200))


def test_a_plan_holds_every_kind_and_leaves_half_of_the_symbols_alone() -> None:
    symbols = [f"S{k}USDT" for k in range(20)]
    steps = plan_of(5, symbols, 60.0)
    assert steps == plan_of(5, symbols, 60.0) != plan_of(6, symbols, 60.0)
    assert {step.fault.kind for step in steps} == set(KINDS)
    assert {step.fault.symbol for step in steps} <= {"", *symbols[::2]}
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    assert all(0 <= step.at_s <= 60.1 for step in steps)


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate({"kind": "fire"})
