"""The slow twin of foreshock/features/calendar.py, by the standard library's calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from foreshock.features.calendar import CalendarSettings


def calendar_features(boundary: int, settings: CalendarSettings | None = None) -> dict[str, float]:
    given, out = settings or CalendarSettings(), {}
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=boundary // 1000)
    minute = now.replace(second=0, microsecond=0)
    hour, day = minute.replace(minute=0), minute.replace(minute=0, hour=0)
    month, year = day.replace(day=1), day.replace(month=1, day=1)
    quarter = month.replace(month=(now.month - 1) // 3 * 3 + 1)
    monday = day - timedelta(days=now.weekday())

    def later(start: datetime, months: int) -> datetime:
        count = start.month - 1 + months
        return start.replace(year=start.year + count // 12, month=count % 12 + 1)

    for name, start, end in (
        ("second_of_minute", minute, minute + timedelta(minutes=1)),
        ("minute_of_hour", hour, hour + timedelta(hours=1)),
        ("hour_of_day", day, day + timedelta(days=1)),
        ("day_of_week", monday, monday + timedelta(days=7)),
        ("day_of_month", month, later(month, 1)),
        ("day_of_quarter", quarter, later(quarter, 3)),
        ("month_of_year", year, later(year, 12)),
    ):
        phase = 2 * math.pi * ((now - start) / (end - start))
        out[f"{name}_sin"], out[f"{name}_cos"] = math.sin(phase), math.cos(phase)
    out["is_weekend"] = float(now.strftime("%a") in ("Sat", "Sun"))
    for name, (opens, closes) in given.sessions.items():
        out[f"session_{name}"] = float(opens <= now.hour < closes)

    def hours_to(hours: tuple[int, ...], days: str) -> float:
        moments = [
            day + timedelta(days=d, hours=h)
            for d in range(8)
            for h in hours
            if (day + timedelta(days=d)).strftime("%a") in days
        ]
        return min(m - now for m in moments if m > now) / timedelta(hours=1)

    out["hours_to_funding"] = hours_to(given.funding_hours, "Mon Tue Wed Thu Fri Sat Sun")
    out["hours_to_expiry"] = hours_to((given.expiry_hour,), "Fri")
    return out
