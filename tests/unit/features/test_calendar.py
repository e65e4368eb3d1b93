from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from foreshock.features import calendar, catalog
from foreshock.features.calendar import CalendarSettings, civil, first_day
from foreshock.features.settings import FeatureSettings
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS
from tests.reference.feature_tape import instruments
from tests.reference.features_calendar import calendar_features

NAMES = catalog.layout(FeatureSettings(families=("calendar",))).names
LADDER = books.init(2)


def at(boundary: int, settings: CalendarSettings | None = None) -> dict[str, float]:
    given = settings or CalendarSettings()
    out = np.full((2, len(calendar.specs(given))), -1e300)
    calendar.close(boundary, LADDER, calendar.init(instruments(2), given), out)
    assert out[0].tobytes() == out[1].tobytes()
    names = [spec.name for spec in calendar.specs(given)]
    return dict(zip(names, out[0].tolist(), strict=True))


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def test_every_feature_equals_the_standard_librarys_calendar() -> None:
    rng = np.random.default_rng(1)
    some = [int(t) * SECOND_NS for t in rng.integers(0, 4_102_444_800, 400)]
    some += [int(t) * 1000 for t in rng.integers(0, 4_102_444_800_000_000, 50)]
    edges = [
        ns(day) - SECOND_NS * k
        for day in ("2024-02-29", "2024-03-01", "2025-01-01", "2000-03-01", "2026-11-20T08:00")
        for k in (0, 1, 1800)
    ]
    for boundary in (*some, *edges):
        found, wanted = at(boundary), calendar_features(boundary)
        assert tuple(found) == tuple(wanted) == NAMES
        for name in NAMES:
            assert math.isclose(found[name], wanted[name], rel_tol=1e-9, abs_tol=1e-9), name


def test_dates_go_there_and_back_for_four_hundred_years() -> None:
    for year in range(1970, 2370):
        for month in range(1, 13):
            day = first_day(year, month)
            assert civil(day) == (year, month)
            assert civil(day - 1) == ((year, month - 1) if month > 1 else (year - 1, 12))
    assert first_day(1970, 1) == 0


def test_the_end_of_a_cycle_is_next_to_its_start() -> None:
    before, after = at(ns("2025-01-01") - SECOND_NS), at(ns("2025-01-01"))
    for name in ("hour_of_day", "day_of_month", "day_of_quarter", "month_of_year"):
        assert math.isclose(after[f"{name}_cos"], 1.0)
        assert abs(after[f"{name}_sin"]) < 1e-9
        assert abs(before[f"{name}_sin"] - after[f"{name}_sin"]) < 1e-4


def test_funding_and_expiry_are_ahead_never_now() -> None:
    friday = ns("2026-11-20T08:00")
    assert at(friday)["hours_to_funding"] == 8.0
    assert at(friday)["hours_to_expiry"] == 168.0
    assert math.isclose(at(friday - SECOND_NS)["hours_to_expiry"], 1 / 3600, rel_tol=1e-6)
    assert at(ns("2026-11-20T23:00"))["hours_to_funding"] == 1.0


def test_hours_are_settings() -> None:
    given = CalendarSettings(funding_hours=(5,), expiry_hour=0, sessions={"lunch": (12, 13)})
    found = at(ns("2026-11-21T12:30"), given)
    assert found["session_lunch"] == 1.0
    assert found["is_weekend"] == 1.0
    assert found["hours_to_funding"] == 16.5
    assert found == calendar_features(ns("2026-11-21T12:30"), given)


@pytest.mark.parametrize(
    "wrong",
    [{"funding_hours": ()}, {"funding_hours": (24,)}, {"sessions": {"night": (22, 4)}},
     {"expiry_hour": 24}],
)  # fmt: skip
def test_hours_that_do_not_exist_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"hour|ascending|24|23"):
        CalendarSettings.model_validate(wrong)
