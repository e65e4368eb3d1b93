from __future__ import annotations

import math

from foreshock.features import catalog
from foreshock.market.rows import BOOK, RESYNCING, SYNCED
from tests.reference.feature_tape import boundaries_of, drive
from tests.reference.features import SECOND, Book, Epoch, Event, Top

NAMES = catalog.layout().names
START = 1_700_000_000 * SECOND
EMPTY: Top = [[], []]
TOP: Top = [[(99, 10), (98, 20)], [(101, 5), (102, 5)]]


def vectors(events: list[Event], seconds: int, top: Top = TOP) -> list[dict[str, float]]:
    boundaries = boundaries_of(START, seconds)
    found = drive(events, boundaries, {0: dict.fromkeys(boundaries, top)}, 1)[:, 0]
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found]


def book(
    second: float,
    touch: tuple[int, int, int, int] = (99, 30, 101, 10),
    ofi: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0),
    valid: bool = True,
) -> Book:
    return Book(START + round(second * SECOND), 0, valid, touch, ofi)


def test_the_touch_gives_spread_imbalance_and_microprice() -> None:
    found = vectors([book(0.5)], 1)[0]
    assert found["spread_bps"] == 200.0
    assert found["queue_imbalance"] == 0.5
    weighted = (99 * 10 + 101 * 30) / 40
    assert math.isclose(found["microprice_deviation_bps"], 1e4 * (weighted / 100 - 1))
    assert found["depth_imbalance_5"] == (30 - 10) / 40


def test_the_last_valid_touch_is_carried_through_quiet_seconds_and_invalid_rows() -> None:
    found = vectors([book(0.5), book(1.5, touch=(1, 1, 2, 1), valid=False)], 30)
    assert all(f["spread_bps"] == 200.0 for f in found)


def test_order_flow_is_scaled_by_the_mean_lots_of_a_side() -> None:
    found = vectors([book(0.5, ofi=(10, 4, 3, 2, 1)), book(1.5, ofi=(-4, 0, 0, 0, 0))], 12)
    assert found[0]["ofi_10s"] == 10 / 20
    assert found[1]["ofi_10s"] == 6 / 20
    assert found[1]["mlofi_5_10s"] == 16 / 20
    assert found[10]["ofi_10s"] == -4 / 20
    assert found[11]["ofi_10s"] == 0.0


def test_without_a_ladder_the_features_of_the_touch_remain() -> None:
    found = vectors([book(0.5, ofi=(10, 0, 0, 0, 0))], 1, top=EMPTY)[0]
    assert found["ofi_10s"] == 0.5
    assert math.isnan(found["mlofi_5_10s"])
    assert math.isnan(found["depth_imbalance_5"])


def test_a_broken_epoch_silences_the_book_until_a_new_touch() -> None:
    broken = Epoch(START + 2 * SECOND, 0, BOOK, RESYNCING, 1)
    joined = Epoch(START + 4 * SECOND, 0, BOOK, SYNCED, 2)
    found = vectors([book(0.5, ofi=(10, 0, 0, 0, 0)), broken, joined, book(5.5)], 6)
    depth_names = [s.name for s in catalog.specs() if s.family == "depth"]
    assert found[1]["ofi_10s"] == 0.5
    for k in (2, 3, 4):
        assert all(math.isnan(found[k][name]) for name in depth_names)
    assert found[5]["ofi_10s"] == 0.0
