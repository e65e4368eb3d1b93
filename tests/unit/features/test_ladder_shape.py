from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.features import catalog, ladder_shape
from foreshock.features.ladder_shape_specs import LadderShapeSettings
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from foreshock.market.ladder import ASK, BID, I_KNOWN_HIGH, I_KNOWN_LOW, I_STATE
from foreshock.market.rows import RESYNCING, STALE, SYNCED, Rows, as_words
from foreshock.replay.driver import rows_of_raw, tape_of
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance import BinanceSession
from tests.reference.feature_tape import instruments
from tests.reference.features import Top
from tests.reference.features_ladder_shape import ladder_shape_features
from tests.reference.make_rows import START, RowMaker

CHOSEN = FeatureSettings(families=("ladder_shape",))
NAMES = catalog.layout(CHOSEN).names
SCALE = 0.01 * 0.001
Levels = list[tuple[int, int]]


class Book:
    """One symbol's ladder, the family over it, and its twin."""

    def __init__(self, settings: LadderShapeSettings | None = None) -> None:
        self.make, self.ladder = RowMaker(), books.init(1)
        self.settings = settings or LadderShapeSettings()
        self.names = [spec.name for spec in ladder_shape.specs(self.settings)]
        self.state = ladder_shape.init(instruments(1), self.settings)
        self.scale = SCALE

    def feed(self, *batch: Rows) -> None:
        words = as_words(np.concatenate(batch))
        touch = books.empty_touch(len(words))
        books.scan(words, touch, 0, len(words), 2**62, self.ladder)
        ladder_shape.scan(words, touch, 0, len(words), self.state)

    def joined(self, bids: Levels, asks: Levels, asked: int = 1000) -> Book:
        make = self.make
        self.feed(
            make.epoch(0, RESYNCING, 1),
            make.snapshot(0, 100, bids, asks, asked),
            make.epoch(0, SYNCED, 1),
        )
        return self

    def features(self) -> dict[str, float]:
        out = np.full((1, len(self.names)), -1e300)
        ladder_shape.close(START, self.ladder, self.state, out)
        return dict(zip(self.names, out[0].tolist(), strict=True))

    def twin(self) -> dict[str, float]:
        info = self.ladder.info[0]
        top: Top = [
            [(int(t), int(q)) for t, q in books.levels(self.ladder, 0, side)] for side in (BID, ASK)
        ]
        known = (int(info[I_KNOWN_LOW]), int(info[I_KNOWN_HIGH]))
        return ladder_shape_features(
            top if info[I_STATE] == SYNCED else None, known, self.scale, self.settings
        )

    def check(self) -> dict[str, float]:
        found, wanted = self.features(), self.twin()
        assert list(found) == self.names and set(wanted) == set(self.names)
        for name, value in found.items():
            want = wanted[name]
            assert math.isclose(value, want, rel_tol=1e-9, abs_tol=1e-9) or (
                math.isnan(value) and math.isnan(want)
            ), f"{name}: {value} is not {want}"
        return found


def random_side(rng: random.Random, first: int, way: int) -> Levels:
    count = rng.choice((1, 2, 7, 60, 900))
    step, size = rng.choice((1, 1, 3, 40)), rng.choice((20, 3_000))
    out, ticks = [], first
    for _ in range(count):
        out.append((ticks, int(rng.paretovariate(1) * size)))
        ticks += way * rng.randint(1, step)
    return [level for level in out if level[0] > 0]


@pytest.mark.parametrize("mid", [40, 900, 60_000, 5_000_000])
def test_every_feature_equals_its_naive_twin_on_random_books(mid: int) -> None:
    rng, seen = random.Random(mid), set()
    for _ in range(15):
        asked = rng.choice((60, 1000, 5000))
        book = Book().joined(
            random_side(rng, mid, -1), random_side(rng, mid + rng.choice((1, 1, 7)), 1), asked
        )
        found = book.check()
        for update in range(101, 104):
            book.feed(
                book.make.depth(
                    0, update, [(mid - rng.randint(2, 300), 7)] if mid > 300 else [],
                    [(mid + rng.randint(8, 300), rng.choice((0, 9)))],
                )
            )  # fmt: skip
            found |= {k: v for k, v in book.check().items() if not math.isnan(v)}
        seen |= {name for name, value in found.items() if math.isfinite(value)}
    assert mid != 60_000 or seen == set(NAMES)


def test_other_parameters_are_computed_as_well() -> None:
    settings = LadderShapeSettings(
        imbalance_bps=(7,), slope_bps=(3, 30), asymmetry_bps=(15, 25), levels=3,
        cost_quote=(50, 700), cost_levels=2,
    )  # fmt: skip
    rng = random.Random(5)
    for _ in range(30):
        book = Book(settings).joined(random_side(rng, 60_000, -1), random_side(rng, 60_001, 1))
        book.check()
    assert "buy_cost_50_bps" in book.names and "sell_cost_700_bps" in book.names


def test_a_reach_beyond_what_is_known_is_nan_and_never_a_sum_that_stops_short() -> None:
    bids = [(100_000 - k, 1) for k in range(100)]
    asks = [(100_001 + k, 3) for k in range(100)]
    cut, whole = Book().joined(bids, asks, asked=100), Book().joined(bids, asks, asked=101)
    assert cut.check()["depth_imbalance_5bps"] == whole.check()["depth_imbalance_5bps"] == -0.5
    for r in (20, 50, 100, 200):
        assert math.isnan(cut.features()[f"depth_imbalance_{r}bps"])
        assert math.isnan(cut.features()[f"book_slope_ask_{r}bps"])
        assert whole.features()[f"depth_imbalance_{r}bps"] == -0.5
    assert math.isnan(cut.features()["order_book_slope"])

    dear = Book().joined([(2_000_000, 1)], [(2_000_001, 1)]).check()
    assert dear["depth_imbalance_50bps"] == 0.0
    assert math.isnan(dear["depth_imbalance_100bps"])  # beyond the ladder's window


def test_depth_imbalance_and_slopes_of_a_book_that_thins_out_above() -> None:
    bids = [(10_000 - k, 10) for k in range(300)]
    asks = [(10_002 + k, 10 if k < 50 else 5) for k in range(300)]
    found = Book().joined(bids, asks).check()
    assert found["depth_imbalance_20bps"] == 0.0
    assert found["depth_imbalance_200bps"] == (200 * 10 - 50 * 10 - 150 * 5) / (
        200 * 10 + 50 * 10 + 150 * 5
    )
    assert found["order_book_slope"] > found["depth_imbalance_50bps"]
    money_per_bp = 200 * 10 * 10_001 * SCALE / 200
    assert math.isclose(found["book_slope_bid_200bps"], math.log(money_per_bp))
    assert found["book_slope_ask_200bps"] < found["book_slope_bid_200bps"]


def test_a_market_order_walks_up_the_asks_until_it_is_filled() -> None:
    # A level of 10 000 ticks and 1 000 lots of 0.00001 is worth 100.
    book = Book(LadderShapeSettings(cost_quote=(50, 100, 150, 1_000)))
    found = book.joined([(9_998, 1_000)], [(10_000, 1_000), (10_010, 1_000)]).check()
    half_spread = 1e4 * (10_000 / 9_999 - 1)
    assert math.isclose(found["buy_cost_50_bps"], half_spread)
    assert math.isclose(found["buy_cost_100_bps"], half_spread)
    lots = 1_000 + 5_000_000 / 10_010
    assert math.isclose(found["buy_cost_150_bps"], 1e4 * (15_000_000 / lots / 9_999 - 1))
    assert math.isnan(found["buy_cost_1k_bps"]) and math.isnan(found["sell_cost_150_bps"])


def test_gaps_concentration_and_walls_tell_the_shape_of_a_side() -> None:
    found = Book().joined([(999, 5), (998, 5)], [(1001, 2), (1011, 1), (1016, 6), (1021, 6)])
    shape = found.check()
    assert math.isclose(shape["first_gap_ask_bps"], 100.0)
    assert math.isclose(shape["level_gap_ask_bps"], 200 / 3)
    assert math.isclose(shape["concentration_ask"], (4 + 1 + 36 + 36) / 15**2)
    assert math.isclose(shape["concentration_bid"], 0.5)
    assert math.isclose(shape["wall_distance_ask_bps"], 160.0)  # the nearer of two
    assert math.isclose(shape["bid_ask_imbalance"], (10 - 15) / 25)
    alone = Book().joined([(999, 5)], [(1001, 2)]).check()
    assert math.isnan(alone["first_gap_bid_bps"]) and math.isnan(alone["level_gap_ask_bps"])
    assert alone["concentration_bid"] == 1.0


def test_a_book_that_is_not_synced_or_crosses_tells_nothing() -> None:
    book = Book().joined([(999, 5)], [(1001, 2)])
    book.feed(book.make.epoch(0, STALE, 1))
    assert all(math.isnan(value) for value in book.check().values())
    crossed = Book().joined([(999, 5)], [(1001, 2)])
    crossed.feed(crossed.make.depth(0, 101, [(1002, 1)], []))
    assert all(math.isnan(value) for value in crossed.check().values())


def test_another_tick_or_lot_size_counts_from_its_row_on() -> None:
    book = Book().joined([(999, 5_000)], [(1001, 5_000)], asked=1)
    before = book.joined([(10_000 - k, 50) for k in range(9)], [(10_001, 50)]).features()
    book.feed(book.make.instrument(0, (0, 5, 1, 2)))
    book.scale = 5 * 0.2
    after = book.check()
    difference = after["book_slope_bid_5bps"] - before["book_slope_bid_5bps"]
    assert math.isclose(difference, math.log(1.0 / SCALE))


def test_a_recorded_snapshot_of_a_thousand_levels_is_known_to_twenty_bps_and_not_to_fifty(
    recordings: Path,
) -> None:
    files = [recordings / f"ws_raw/hftbacktest/usdm/btcusdt_2023040{day}.dat.gz" for day in (4, 5)]
    raw = read_raw_session(files)
    session = BinanceSession(raw.instruments, tape=tape_of(raw.events))
    engine = Engine(raw.instruments, CHOSEN)
    given = [
        dict(zip(NAMES, boundary.vectors[0].tolist(), strict=True))
        for rows in rows_of_raw(session, raw.events)
        for boundary in engine.feed(rows)
        if boundary.warm.any()
    ]
    assert len(given) > 400
    for found in given:
        assert all(math.isfinite(found[f"depth_imbalance_{r}bps"]) for r in (5, 10, 20))
        assert all(math.isnan(found[f"depth_imbalance_{r}bps"]) for r in (50, 100, 200))
        costs = [found[f"buy_cost_{money}_bps"] for money in ("1k", "10k", "100k")]
        assert 0 < costs[0] <= costs[1] <= costs[2] < 5


def test_reaches_must_ascend_and_stay_below_the_whole_price() -> None:
    for wrong in ((10, 5), (0,), (10_000,)):
        with pytest.raises(ValueError, match="must"):
            LadderShapeSettings(imbalance_bps=wrong)
