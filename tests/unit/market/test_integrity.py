"""Continuity of diffs: the compiled rules against the venue's page, over all small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from foreshock.market.integrity import (
    BREAK,
    FOLLOWS,
    REPEAT,
    RULE_SPOT,
    RULE_USDM,
    S_LIQUIDATION_MS,
    S_TRADE_ID,
    follow,
    new_sync,
)
from foreshock.market.rows import SYNCED
from tests.reference.book import Continuity, Diff

RULES = {"binance-spot": RULE_SPOT, "binance-usdm": RULE_USDM}
VERDICTS = {"repeat": REPEAT, "applied": FOLLOWS, "break": BREAK}


@pytest.mark.parametrize("market", list(RULES))
def test_every_small_case_is_judged_as_the_page_says(market: str) -> None:
    seen = set()
    for first, length, previous, joined in itertools.product(
        range(1, 9), range(4), range(9), (False, True)
    ):
        known = 4
        diff = Diff(first, first + length, previous)
        book = Continuity(market, SYNCED, 1, known, joined)
        expected = VERDICTS[book.diff(diff)]
        found = follow(int(not joined), known, diff.first, diff.last, previous, RULES[market])
        assert found == expected, (diff, joined)
        seen.add((expected, joined))
    assert len(seen) == 6


def test_the_pages_own_examples() -> None:
    # spot: lastUpdateId 160
    assert follow(1, 160, 157, 160, -1, RULE_SPOT) == REPEAT
    assert follow(1, 160, 158, 161, -1, RULE_SPOT) == FOLLOWS
    assert follow(1, 160, 161, 165, -1, RULE_SPOT) == FOLLOWS
    assert follow(1, 160, 162, 165, -1, RULE_SPOT) == BREAK
    assert follow(0, 165, 166, 170, -1, RULE_SPOT) == FOLLOWS
    assert follow(0, 165, 165, 170, -1, RULE_SPOT) == BREAK
    # USD-M: U <= lastUpdateId <= u, then pu = the previous u; ids have holes
    assert follow(1, 160, 150, 160, 140, RULE_USDM) == FOLLOWS
    assert follow(1, 160, 161, 165, 155, RULE_USDM) == BREAK
    assert follow(0, 165, 190, 200, 165, RULE_USDM) == FOLLOWS
    assert follow(0, 165, 166, 200, 164, RULE_USDM) == BREAK


def test_continuity_begins_with_nothing_known() -> None:
    sync = new_sync(3)
    assert sync.dtype == np.int64
    ids = [*range(S_TRADE_ID, S_LIQUIDATION_MS + 1)]
    assert (sync[:, ids] == -1).all()
    assert not np.delete(sync, ids, axis=1).any()
