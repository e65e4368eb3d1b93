"""The data language: layout, packs, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from foreshock.errors import RowError
from foreshock.market import rows as language
from foreshock.market.rows import (
    ALL,
    DEPTH,
    KIND_NAMES,
    ROW,
    TIMER,
    TRADE,
    WORDS,
    as_rows,
    as_words,
    empty_rows,
    heads,
    levels_of,
    pack_levels,
    packs_for,
)
from foreshock.market.words import count_of, flags_of, kind_of, meta_word, symbol_of


def test_a_row_is_eighty_bytes_in_the_columns_that_kernels_read() -> None:
    assert ROW.itemsize == 80 == 8 * WORDS
    rows = empty_rows(1)
    singles = ("arrival_ns", "event_ns", "seq", "id", "id2", "a", "b", "c", "d")
    columns = ("ARRIVAL", "EVENT", "SEQ", "ID", "ID2", "A", "B", "C", "D")
    for k, name in enumerate(singles):
        rows[0][name] = k + 1
    words = as_words(rows)
    for k, column in enumerate(columns):
        assert words[0, getattr(language, column)] == k + 1


@pytest.mark.parametrize(
    ("kind", "flags", "count", "symbol"),
    [(1, 0, 0, 0), (9, 255, 65_535, 2**31 - 1), (3, 2, 8, ALL), (255, 1, 1, -(2**31))],
)
def test_the_meta_word_is_the_four_small_fields(
    kind: int, flags: int, count: int, symbol: int
) -> None:
    rows = empty_rows(1)
    for name, value in (("kind", kind), ("flags", flags), ("count", count), ("symbol", symbol)):
        rows[0][name] = value
    meta = as_words(rows)[0, language.META]
    assert meta_word(kind, flags, count, symbol) == meta
    assert (kind_of(meta), flags_of(meta), count_of(meta), symbol_of(meta)) == (
        kind, flags, count, symbol,
    )  # fmt: skip


def test_rows_and_words_are_the_same_memory() -> None:
    rows = empty_rows(3)
    words = as_words(rows)
    words[1, language.A] = 5
    assert rows["a"].tolist() == [0, 5, 0]
    back = as_rows(words)
    back["seq"][2] = 9
    assert rows["seq"].tolist() == [0, 0, 9]


def test_another_dtype_is_refused() -> None:
    with pytest.raises(RowError, match="80 bytes"):
        as_words(np.zeros(3))


@pytest.mark.parametrize(("n_bids", "n_asks"), [(0, 0), (5, 0), (0, 1), (3, 2), (20, 21), (7, 998)])
def test_levels_come_back_as_they_were_packed(n_bids: int, n_asks: int) -> None:
    rng = np.random.default_rng(n_bids)
    bids, asks = (rng.integers(0, 2**62, (n, 2)) for n in (n_bids, n_asks))
    packs = packs_for(n_bids + n_asks)
    rows = empty_rows(2 + packs)
    rows["a"] = -1
    rows[0]["kind"], rows[1]["kind"] = TIMER, DEPTH
    pack_levels(rows, 1, bids, asks)
    assert heads(rows).tolist() == [0, 1]
    assert rows["count"][1] == packs
    for found, given in zip(levels_of(rows, 1), (bids, asks), strict=True):
        np.testing.assert_array_equal(found, given)
    padding = as_words(rows)[2:].reshape(-1, 2)[n_bids + n_asks :]
    assert not padding.any() and len(padding) < language.LEVELS_PER_PACK


def test_heads_skip_packs_whatever_these_look_like() -> None:
    rows = empty_rows(5)
    rows["kind"] = [TRADE, DEPTH, 77, 0, TIMER]
    rows["count"] = [0, 2, 9, 9, 0]
    assert heads(rows).tolist() == [0, 1, 4]


def test_rows_that_break_the_language_are_refused() -> None:
    rows = empty_rows(2)
    rows["kind"] = [TRADE, DEPTH]
    rows["count"] = [0, 1]
    with pytest.raises(RowError, match="beyond the end"):
        heads(rows)
    rows["kind"] = [max(KIND_NAMES) + 1, TRADE]
    with pytest.raises(RowError, match="row 0 has the unknown kind 15"):
        heads(rows)


def test_the_page_names_every_kind() -> None:
    table = (language.__doc__ or "").split("kind         id", 1)[1]
    assert set(re.findall(r"^([A-Z]+) ", table, re.MULTILINE)) >= {
        name.upper() for name in KIND_NAMES.values()
    }
