"""Switches from outside, which reach the policy as control rows of the sequenced input.

CONTROL rows carry the field in `a` and its value in `b`: 1 throws the kill switch or opens the
breaker, 0 takes that back. A row for all symbols (-1) that takes back also takes back every single
symbol's. Other control fields are none of the policy's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foreshock.errors import RowError
from foreshock.market.rows import (
    ALL,
    CONTROL,
    CONTROL_BREAKER,
    CONTROL_KILL,
    Rows,
    empty_rows,
    heads,
)
from foreshock.signals.policy import PolicyState


def apply_control(state: PolicyState, rows: Rows, symbols: Sequence[str] = ()) -> PolicyState:
    """The state after the control rows among `rows`, in their order; other rows are passed over.

    symbols   names by row index; needed where a control row is meant for one symbol. Raises
              RowError where its index has no name."""
    killed, broken = set(state.killed), set(state.broken)
    at = heads(rows)
    for i in at[rows["kind"][at] == CONTROL]:
        control, value = int(rows["a"][i]), int(rows["b"][i])
        if control == CONTROL_KILL:
            _switch(killed, _name(int(rows["symbol"][i]), symbols), value)
        elif control == CONTROL_BREAKER:
            _switch(broken, _name(int(rows["symbol"][i]), symbols), value)
    if killed == state.killed and broken == state.broken:
        return state
    return replace(state, killed=frozenset(killed), broken=frozenset(broken))


def control_row(arrival_ns: int, seq: int, control: int, value: int, symbol: int = ALL) -> Rows:
    """One CONTROL row, shape (1,), for shells that pass an operator's or a breaker's word on."""
    rows = empty_rows(1)
    rows["arrival_ns"], rows["seq"], rows["kind"] = arrival_ns, seq, CONTROL
    rows["symbol"], rows["a"], rows["b"] = symbol, control, value
    return rows


def _name(index: int, symbols: Sequence[str]) -> str:
    if index == ALL:
        return ""
    if not 0 <= index < len(symbols):
        raise RowError(f"a control row names symbol {index}, {len(symbols)} symbols are known")
    return symbols[index]


def _switch(names: set[str], name: str, value: int) -> None:
    if value:
        names.add(name)
    elif name:
        names.discard(name)
    else:
        names.clear()
