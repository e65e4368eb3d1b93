"""The policy's memory and its switches."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import RowError, SnapshotError
from foreshock.market.rows import CONTROL_BREAKER, CONTROL_KILL, CONTROL_MODEL, TIMER, empty_rows
from foreshock.signals.policy import PolicyState
from foreshock.signals.risk import apply_control, control_row

STATE = PolicyState({"BUSDT": 5, "AUSDT": 9}, {"AUSDT": 9}, frozenset({"AUSDT"}), frozenset({""}))


def test_a_state_comes_back_from_its_bytes_and_equal_states_give_equal_bytes():
    again = PolicyState.from_bytes(STATE.to_bytes())
    assert again == STATE
    other_order = PolicyState({"AUSDT": 9, "BUSDT": 5}, {"AUSDT": 9}, STATE.killed, STATE.broken)
    assert other_order.to_bytes() == STATE.to_bytes()


@pytest.mark.parametrize("blob", [b"", b"{}", b"[1]", b'{"version":2}', STATE.to_bytes()[:-4]])
def test_bytes_that_are_no_state_are_refused(blob):
    with pytest.raises(SnapshotError):
        PolicyState.from_bytes(blob)


def test_what_it_says_of_some_symbols_keeps_their_marks_and_the_switches_for_all():
    assert STATE.only(["BUSDT"]) == PolicyState({"BUSDT": 5}, {}, frozenset(), frozenset({""}))
    assert STATE.only(["AUSDT", "BUSDT", "CUSDT"]) == STATE


def test_a_switch_for_one_symbol_leaves_the_others_alone():
    state = apply_control(PolicyState(), control_row(1, 1, CONTROL_KILL, 1, 1), ["A", "B"])
    assert state.is_killed("B")
    assert not state.is_killed("A")
    assert not state.is_broken("B")


def test_the_last_word_counts_and_taking_back_for_all_takes_back_everything():
    rows = np.concatenate(
        [
            control_row(1, 1, CONTROL_BREAKER, 1, 0),
            control_row(1, 2, CONTROL_BREAKER, 1),
            control_row(1, 3, CONTROL_BREAKER, 0),
        ]
    )
    assert apply_control(PolicyState(), rows[:2], ["A"]).is_broken("Z")
    assert apply_control(PolicyState(), rows, ["A"]) == PolicyState()


def test_rows_of_other_kinds_and_fields_change_nothing():
    timer = empty_rows(1)
    timer["kind"] = TIMER
    rows = np.concatenate([timer, control_row(1, 1, CONTROL_MODEL, 1)])
    assert apply_control(STATE, rows) is STATE


def test_a_symbol_without_a_name_is_refused():
    with pytest.raises(RowError, match="symbol 3"):
        apply_control(PolicyState(), control_row(1, 1, CONTROL_KILL, 1, 3), ["A"])
