"""The ladder against dicts: touch records, levels, windows that slide, and alarms."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foreshock.market import ladder as books
from foreshock.market.ladder import ASK, BID, RANGE_GUARD, WINDOW, Ladder
from foreshock.market.rows import (
    HELD,
    REJOINED,
    RESYNCING,
    STALE,
    SYNCED,
    TAPE,
    Rows,
    as_words,
    heads,
)
from foreshock.market.touch import OFI1, VALID
from tests.reference.book import BookTwin
from tests.reference.make_rows import RowMaker

FAR = 2**62


class Both:
    """A ladder and a dict book for each symbol, fed the same rows."""

    def __init__(self, n: int = 1) -> None:
        self.ladder, self.twins, self.make = (
            books.init(n),
            [BookTwin() for _ in range(n)],
            RowMaker(),
        )
        self.n = n

    def feed(self, *batch: Rows) -> np.ndarray:
        """Touch records of the header rows, which both must agree on."""
        rows = np.concatenate(batch)
        touch = books.empty_touch(len(rows))
        touch[:] = -9
        assert books.scan(as_words(rows), touch, 0, len(rows), FAR, self.ladder) == len(rows)
        found = []
        for head in heads(rows):
            symbol = int(rows["symbol"][head])
            if 0 <= symbol < self.n:
                expected = self.twins[symbol].step(rows, int(head))
                assert touch[head].tolist() == expected, rows[head]
            found.append(touch[head])
        return np.array(found)

    def check(self, s: int = 0) -> None:
        """All that can be read between batches is the twin's."""
        twin, info = self.twins[s], self.ladder.info[s]
        low, high = int(info[books.I_KNOWN_LOW]), int(info[books.I_KNOWN_HIGH])
        bids = sorted(((t, q) for t, q in twin.bids.items() if t >= low), reverse=True)
        asks = sorted((t, q) for t, q in twin.asks.items() if t <= high)
        found = [
            [(int(t), int(q)) for t, q in books.levels(self.ladder, s, side)] for side in (BID, ASK)
        ]
        assert [level for level in found[0] if level[0] >= low] == bids
        assert [level for level in found[1] if level[0] <= high] == asks
        assert int(info[books.I_STATE]) == twin.state and int(info[books.I_EPOCH]) == twin.epoch
        assert int(info[books.I_APPLIED]) == twin.applied
        assert bool(info[books.I_CROSSED]) == twin.crossed
        if info[books.I_RANGE_ALARM] == 0 and twin.top is not None:
            assert (self.ladder.touch[s].tolist()) == list(twin.touch)

    def synced(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]], s: int = 0,
               asked: int = 1000) -> None:  # fmt: skip
        """Join symbol s to a snapshot."""
        self.feed(
            self.make.epoch(s, RESYNCING, 1),
            self.make.snapshot(s, 100, bids, asks, asked),
            self.make.epoch(s, SYNCED, 1),
        )


def sides(mid: int, n: int, gap: int = 1) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return (
        [(mid - k * gap, 10 + k) for k in range(1, n + 1)],
        [(mid + k * gap, 20 + k) for k in range(1, n + 1)],
    )


def alarmed(ladder: Ladder, s: int = 0) -> bool:
    return bool(ladder.info[s, books.I_RANGE_ALARM])


@pytest.mark.parametrize("mid", [300, 5_000, 28_145_10])
def test_random_rows_of_three_symbols_leave_what_the_dict_books_have(mid: int) -> None:
    rng = random.Random(mid)
    both, mids, ids = Both(3), [mid] * 3, [100] * 3
    for _ in range(400):
        s, make = rng.randrange(3), both.make
        twin = both.twins[s]
        choice = rng.random()
        rows: list[Rows] = []
        if twin.state == RESYNCING and choice < 0.5:
            bids, asks = sides(mids[s], rng.randint(6, 40), rng.choice((1, 1, 3)))
            rows = [make.snapshot(s, ids[s], bids, asks)]
            for _ in range(rng.randint(0, 2)):
                ids[s] += 1
                rows.append(make.depth(s, ids[s], [(mids[s] - 1, rng.randint(1, 9))], (), REJOINED))
            rows.append(make.epoch(s, SYNCED, twin.epoch))
        elif choice < 0.6:
            ids[s] += rng.randint(1, 3)
            flags = HELD if twin.state == RESYNCING else 0
            mids[s] += rng.randint(-3, 3)
            changes: list[list[tuple[int, int]]] = [[], []]
            for side, sign in enumerate((-1, 1)):
                own = twin.bids if side == 0 else twin.asks
                changes[side] = [(t, 0) for t in own if (t - mids[s]) * sign <= 0]
                for _ in range(rng.randint(0, 12)):
                    t = mids[s] + sign * rng.randint(1, 60)
                    changes[side].append((t, rng.choice((0, rng.randint(1, 99)))))
                changes[side].append((mids[s] + sign * rng.randint(1, 3), rng.randint(1, 99)))
            rows = [make.depth(s, ids[s], changes[0], changes[1], flags)]
        elif choice < 0.8:
            bid = mids[s] - rng.randint(1, 3)
            newer = ids[s] + rng.randint(-2, 2)
            rows = [make.quote(s, newer, (bid, rng.randint(1, 50)), (bid + rng.randint(1, 4), 7))]
        elif choice < 0.9:
            rows = [make.trade(s, mids[s], 3), make.timer(), make.epoch(s, SYNCED, 9, TAPE)]
        elif choice < 0.95 and twin.state != RESYNCING:
            rows = [make.epoch(s, RESYNCING, twin.epoch + 1)]
        elif twin.state != RESYNCING:
            rows = [make.epoch(s, STALE if twin.state == SYNCED else SYNCED, twin.epoch)]
        if rows:
            both.feed(*rows)
        both.check(s)
    assert all(twin.epoch > 1 for twin in both.twins)


def test_one_symbols_rows_never_touch_anothers_book() -> None:
    both = Both(2)
    both.synced(*sides(1_000, 8), s=0)
    both.synced(*sides(2_000, 8), s=1)
    before = [np.copy(array[0]) for array in both.ladder[:5]]
    both.feed(both.make.depth(1, 101, [(1_999, 0)], [(2_001, 5)]))
    both.feed(both.make.epoch(1, RESYNCING, 2))
    for old, array in zip(before, both.ladder[:5], strict=True):
        np.testing.assert_array_equal(old, array[0])


def test_rows_of_unknown_symbols_and_of_all_leave_an_empty_record_and_nothing_else() -> None:
    both = Both(1)
    both.synced(*sides(1_000, 8))
    before = [np.copy(array) for array in both.ladder]
    for symbol in (-1, 1, 2**30, -5):
        found = both.feed(both.make.depth(symbol, 101, [(999, 0)]), both.make.trade(symbol, 1, 1))
        assert not found.any()
    for old, array in zip(before, both.ladder, strict=True):
        np.testing.assert_array_equal(old, array)


def test_a_scan_stops_at_the_first_row_of_the_next_step() -> None:
    make, ladder = RowMaker(now=50), books.init(1)
    rows = [make.depth(0, 1, [(5, 1)] * 7)]
    make.now = 100
    rows.append(make.timer())
    batch = np.concatenate(rows)
    touch = books.empty_touch(len(batch))
    assert books.scan(as_words(batch), touch, 0, len(batch), 100, ladder) == 3
    assert books.scan(as_words(batch), touch, 3, len(batch), 100, ladder) == 3
    assert books.scan(as_words(batch), touch, 3, len(batch), 101, ladder) == 4


def test_a_drifting_price_slides_the_window_until_the_edge_of_what_is_known() -> None:
    """Down by hundreds of ticks a diff: the window follows, levels stay those of the dict book, and
    before the touch reaches ticks that no snapshot showed the book says so."""
    for sign in (1, -1):
        both, mid = Both(), 100_000
        both.synced(*sides(mid, 30, 250))  # levels where the window leaves, too
        lows = {int(both.ladder.info[0, books.I_LOW])}
        update_id, moved = 100, 0
        while not alarmed(both.ladder) and moved < 2 * WINDOW:
            update_id, mid, moved = update_id + 1, mid + sign * 150, moved + 150
            twin = both.twins[0]
            bids = [(t, 0) for t in twin.bids if t >= mid] + sides(mid, 12)[0]
            asks = [(t, 0) for t in twin.asks if t <= mid] + sides(mid, 12)[1]
            both.feed(both.make.depth(0, update_id, bids, asks))
            both.check()
            lows.add(int(both.ladder.info[0, books.I_LOW]))
            assert all(low % 64 == 0 for low in lows)
        assert len(lows) > 1
        assert WINDOW // 2 - 200 < moved < WINDOW // 2 + 200
        known = both.ladder.info[0, [books.I_KNOWN_LOW, books.I_KNOWN_HIGH]]
        best = both.twins[0].best(1)
        assert best[1][0][0] + RANGE_GUARD > known[1] or best[0][0][0] - RANGE_GUARD < known[0]


def test_a_price_that_goes_and_comes_back_never_shows_a_level_that_left() -> None:
    rng = random.Random(3)
    for _ in range(6):
        both, mid, update_id = Both(), rng.choice([20_000, 100_000]), 100
        both.synced(*sides(mid, 40, 7))
        for _ in range(60):
            if alarmed(both.ladder):
                break
            mid += rng.randint(-900, 900)
            update_id += 1
            twin = both.twins[0]
            bids = [(t, 0) for t in twin.bids if t >= mid] + sides(mid, 6, rng.randint(1, 400))[0]
            asks = [(t, 0) for t in twin.asks if t <= mid] + sides(mid, 6, rng.randint(1, 400))[1]
            rows = both.make.depth(0, update_id, bids, asks)
            words, touch = as_words(rows), books.empty_touch(len(rows))
            books.scan(words, touch, 0, len(rows), FAR, both.ladder)
            both.twins[0].step(rows, 0)
            both.check()


def test_the_truncated_depth_of_a_snapshot_bounds_what_is_known() -> None:
    both = Both()
    both.synced(*sides(100_000, 50), asked=50)
    info = both.ladder.info[0]
    assert (info[books.I_KNOWN_LOW], info[books.I_KNOWN_HIGH]) == (99_950, 100_050)
    both.feed(both.make.depth(0, 101, [(t, 0) for t in range(99_967, 100_000)]))
    assert not alarmed(both.ladder)
    both.feed(both.make.depth(0, 102, [(99_966, 0)]))
    assert alarmed(both.ladder)  # the best bid is 15 ticks from the last that was shown
    both.feed(both.make.epoch(0, RESYNCING, 2))
    assert not alarmed(both.ladder)


def test_a_snapshot_that_shows_less_than_was_asked_for_shows_the_whole_side() -> None:
    both = Both()
    both.synced(*sides(100_000, 5), asked=50)
    low = int(both.ladder.info[0, books.I_LOW])
    assert both.ladder.info[0, books.I_KNOWN_LOW] == low
    assert both.ladder.info[0, books.I_KNOWN_HIGH] == low + WINDOW - 1
    assert not alarmed(both.ladder)


def test_levels_left_out_for_their_grid_count_as_shown() -> None:
    make = RowMaker()
    for left_out, known in (
        ((0, 0), (None, None)),
        ((3, 0), (99_953, None)),
        ((0, 3), (None, 100_047)),
    ):
        ladder = books.init(1)
        bids, asks = sides(100_000, 47)
        rows = make.snapshot(0, 1, bids, asks, 50, left_out)
        books.scan(as_words(rows), books.empty_touch(len(rows)), 0, len(rows), FAR, ladder)
        low = int(ladder.info[0, books.I_LOW])
        expected = (known[0] or low, known[1] or low + WINDOW - 1)
        assert tuple(ladder.info[0, [books.I_KNOWN_LOW, books.I_KNOWN_HIGH]]) == expected


def test_low_prices_have_a_window_from_zero_and_no_alarm_for_what_cannot_be() -> None:
    both = Both()
    both.synced(*sides(30, 29))
    assert both.ladder.info[0, books.I_LOW] == 0
    assert not alarmed(both.ladder)
    both.feed(both.make.depth(0, 101, [(t, 0) for t in range(2, 30)], [(2, 4)]))
    both.check()
    assert not alarmed(both.ladder)
    assert books.levels(both.ladder, 0, BID).tolist() == [[1, 39]]


def test_an_empty_side_is_an_alarm() -> None:
    both = Both()
    both.synced(*sides(1_000, 2))
    both.feed(both.make.depth(0, 101, [(999, 0), (998, 0)]))
    assert alarmed(both.ladder)
    assert both.ladder.info[0, books.I_BEST_BID] == 0


def test_a_jump_out_of_the_window_is_an_alarm_and_not_a_wrong_touch() -> None:
    both = Both()
    both.synced(*sides(100_000, 10))
    jump = 100_000 + WINDOW
    gone = [(t, 0) for t, _ in sides(100_000, 10)[1]]
    rows = both.make.depth(0, 101, [(jump - 1, 5)], [*gone, (jump + 1, 5)])
    touch = books.empty_touch(len(rows))
    books.scan(as_words(rows), touch, 0, len(rows), FAR, both.ladder)
    assert alarmed(both.ladder)
    assert touch[0, VALID] == 0


def test_best_prices_are_levels_of_the_window_however_wide_the_spread() -> None:
    rng = random.Random(12)
    for _ in range(40):
        both, mid, update_id = Both(), 100_000, 100
        both.synced([(mid - rng.randint(1, 8_000), 5)], [(mid + rng.randint(1, 8_000), 5)])
        for _ in range(12):
            update_id += 1
            bid = mid - rng.randint(-6_000, 9_000)
            ask = bid + rng.randint(1, 16_000)
            twin = both.twins[0]
            bids = [(t, 0) for t in twin.bids] + [(bid, 3)]
            asks = [(t, 0) for t in twin.asks] + [(ask, 3)]
            rows = both.make.depth(0, update_id, bids, asks)
            words, touch = as_words(rows), books.empty_touch(len(rows))
            books.scan(words, touch, 0, len(rows), FAR, both.ladder)
            both.twins[0].step(rows, 0)
            info = both.ladder.info[0]
            for best, side in ((books.I_BEST_BID, BID), (books.I_BEST_ASK, ASK)):
                found = books.levels(both.ladder, 0, side)
                assert int(info[best]) == (int(found[0, 0]) if len(found) else 0)
            low, high = info[books.I_KNOWN_LOW], info[books.I_KNOWN_HIGH]
            if alarmed(both.ladder):
                break
            assert low <= bid and ask <= high
            both.check()


def test_a_crossed_book_is_told_until_the_next_epoch() -> None:
    both = Both()
    both.synced(*sides(1_000, 5))
    found = both.feed(both.make.depth(0, 101, [(1_001, 5)]))
    assert found[0, VALID] == 0 and both.ladder.info[0, books.I_CROSSED] == 1
    both.feed(both.make.depth(0, 102, [(1_001, 0)]))
    assert both.ladder.info[0, books.I_CROSSED] == 1
    both.feed(both.make.epoch(0, RESYNCING, 2))
    assert both.ladder.info[0, books.I_CROSSED] == 0


def test_quotes_move_the_touch_only_where_they_are_newer_than_the_ladder() -> None:
    both = Both()
    make = both.make
    both.synced(*sides(1_000, 5))
    older = both.feed(make.quote(0, 100, (990, 1), (1_010, 1)))
    assert older[0, 1:5].tolist() == [999, 11, 1_001, 21] and older[0, OFI1] == 0
    newer = both.feed(make.quote(0, 105, (1_000, 3), (1_001, 21)))
    assert newer[0, 1:6].tolist() == [1_000, 3, 1_001, 21, 3]
    # A depth frame that is older than the quote moves the deeper levels and leaves the touch.
    behind = both.feed(make.depth(0, 104, [(999, 4), (998, 1)]))
    assert behind[0, 1:5].tolist() == [1_000, 3, 1_001, 21]
    assert behind[0, OFI1] == 0 and behind[0, OFI1 + 1] == 1 - 12
    ahead = both.feed(make.depth(0, 105, [(1_000, 3)]))
    assert ahead[0, 1:5].tolist() == [1_000, 3, 1_001, 21] and ahead[0, OFI1] == 0
    assert books.levels(both.ladder, 0, BID)[0].tolist() == [1_000, 3]


def test_nothing_flows_over_the_edge_of_an_epoch() -> None:
    both = Both()
    make = both.make
    both.synced(*sides(1_000, 6))
    both.feed(make.depth(0, 101, [(999, 50)]))
    bids, asks = sides(1_300, 6)
    found = both.feed(
        make.epoch(0, RESYNCING, 2),
        make.snapshot(0, 200, bids, asks),
        make.depth(0, 201, [(1_299, 99)], (), REJOINED),
        make.epoch(0, SYNCED, 2),
        make.depth(0, 202, [(1_299, 100)]),
    )
    assert not found[:4, OFI1:].any()
    assert found[:, VALID].tolist() == [0, 0, 0, 1, 1]
    assert found[4, OFI1] == 1


def test_a_stale_book_has_no_touch_and_resumes_where_it_stood() -> None:
    both = Both()
    make = both.make
    both.synced(*sides(1_000, 6))
    found = both.feed(
        make.epoch(0, STALE, 1),
        make.quote(0, 150, (1_000, 1), (1_001, 1)),
        make.depth(0, 101, [(999, 40)]),
        make.epoch(0, SYNCED, 1),
        make.depth(0, 102, [(999, 43)]),
    )
    assert found[:, VALID].tolist() == [0, 0, 0, 1, 1]
    assert found[3, 1:3].tolist() == [999, 40]
    assert found[:, OFI1].tolist() == [0, 0, 0, 0, 3]


def test_held_diffs_do_not_move_the_book() -> None:
    both = Both()
    both.synced(*sides(1_000, 6))
    both.feed(both.make.depth(0, 150, [(999, 0)], (), HELD))
    both.check()
    assert books.levels(both.ladder, 0, BID)[0].tolist() == [999, 11]


@pytest.mark.parametrize("gap", [1, 63, 64, 65, 700])
def test_the_next_level_is_found_across_empty_words_of_the_bitmap(gap: int) -> None:
    both = Both()
    bids, asks = sides(50_000, 9, gap)
    both.synced(bids, asks)
    for k in range(8):
        both.feed(both.make.depth(0, 101 + k, [(bids[k][0], 0)], [(asks[k][0], 0)]))
        both.check()


def test_notional_is_summed_from_the_best_price_on() -> None:
    rng = random.Random(1)
    both = Both()
    bids = [(t, rng.randint(1, 9)) for t in sorted(rng.sample(range(49_000, 50_000), 200))[::-1]]
    asks = [(t, rng.randint(1, 9)) for t in sorted(rng.sample(range(50_001, 51_000), 200))]
    both.synced(bids, asks)
    for distance in (0, 1, 64, 500, 5_000, 10**6):
        for side, levels in ((BID, bids), (ASK, asks)):
            near = [(t, q) for t, q in levels if abs(t - levels[0][0]) <= distance]
            expected = sum(t * q for t, q in near)
            assert books.notional_within(both.ladder, 0, side, distance) == expected


def test_a_symbols_memory_is_bounded() -> None:
    per_symbol = sum(array.nbytes for array in books.init(10)[:5]) / 10
    assert per_symbol < 560_000  # two sides of 32,768 sizes and their bitmaps
