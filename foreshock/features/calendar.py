"""Calendar: where a boundary lies in the cycles of the clock, UTC, and how far off the next
settlements are (time).

A cycle is told by the sine and cosine of its phase, 2π · what has passed of it / its length, so
that its end is next to its start. Nothing of any row enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from typing import Annotated, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from foreshock.config import Section
from foreshock.features.family import integers
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rows import Words

DAY_S: Final = 86_400
HOUR_S: Final = 3_600
# Names of the cycles in the order of `_phases`, and what each is.
CYCLES: Final = {
    "second_of_minute": "minute",
    "minute_of_hour": "hour",
    "hour_of_day": "day",
    "day_of_week": "week, from Monday on",
    "day_of_month": "month",
    "day_of_quarter": "quarter of the year",
    "month_of_year": "year",
}


def _hours(given: tuple[int, ...]) -> tuple[int, ...]:
    if not given or list(given) != sorted(set(given)) or given[0] < 0 or given[-1] > 23:
        raise ValueError(f"hours from 0 to 23, ascending, got {list(given)}")
    return given


def _sessions(given: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    wrong = {name: hours for name, hours in given.items() if not 0 <= hours[0] < hours[1] <= 24}
    if wrong:
        raise ValueError(f"from an hour to a later one of the same day, got {wrong}")
    return dict(sorted(given.items()))  # a recording's meta forgets the order


class CalendarSettings(Section):
    """Hours that matter, UTC."""

    funding_hours: Annotated[tuple[int, ...], AfterValidator(_hours)] = Field(
        default=(0, 8, 16), description="When perpetuals settle their funding."
    )
    expiry_hour: int = Field(
        default=8, ge=0, le=23, description="When options and futures expire on Fridays."
    )
    sessions: Annotated[dict[str, tuple[int, int]], AfterValidator(_sessions)] = Field(
        default={"asia": (0, 8), "europe": (7, 16), "america": (13, 22)},
        description="Trading hours of continents: name, from, to.",
    )


_SEASONS = (
    "Hansen, Kim, Kimbrough 2024, Periodicity in cryptocurrency volatility and liquidity, "
    "Journal of Financial Econometrics"
)


def specs(settings: CalendarSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""

    def spec(name: str, formula: str, unit: str = "1", source: str = _SEASONS) -> FeatureSpec:
        return FeatureSpec(name, "calendar", formula, unit, "time", 0, "never", source)

    hours = ", ".join(f"{hour}:00" for hour in settings.funding_hours)
    return (
        *(
            spec(
                f"{name}_{wave}",
                f"{'sine' if wave == 'sin' else 'cosine'} of 2π · the share of the {what} that has "
                "passed",
                source="definition",
            )
            for name, what in CYCLES.items()
            for wave in ("sin", "cos")
        ),
        spec("is_weekend", "1 on Saturday and Sunday, else 0"),
        *(
            spec(f"session_{name}", f"1 from {start}:00 until before {end}:00, else 0")
            for name, (start, end) in settings.sessions.items()
        ),
        spec("hours_to_funding", f"hours until the next of {hours}, by the clock", "h"),
        spec(
            "hours_to_expiry", f"hours until the next Friday {settings.expiry_hour}:00", "h",
            "definition",
        ),
    )  # fmt: skip


class Params(NamedTuple):
    """Hours of the day."""

    funding_hours: NDArray[np.int64]
    expiry_hour: NDArray[np.int64]  # (1,)
    sessions: NDArray[np.int64]  # (sessions, 2)


class State(NamedTuple):
    """Nothing is remembered."""

    params: Params


def init(instruments: Sequence[Instrument], settings: CalendarSettings) -> State:
    """A cold state, which it stays."""
    return State(
        Params(
            funding_hours=integers(settings.funding_hours),
            expiry_hour=integers((settings.expiry_hour,)),
            sessions=np.array(list(settings.sessions.values()), np.int64).reshape(-1, 2),
        )
    )


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """A row changes nothing."""


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Rows change nothing."""


@in_place
def civil(day: int) -> tuple[int, int]:
    """(year, month from 1 to 12) of a day counted from 1970-01-01. Source: Hinnant 2014,
    chrono-compatible low-level date algorithms, civil_from_days."""
    shifted = day + 719_468  # from 0000-03-01 on
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153  # from March on
    return year + era * 400 + (1 if month >= 10 else 0), month + 3 if month < 10 else month - 9


@in_place
def first_day(year: int, month: int) -> int:
    """The first day of a month, counted from 1970-01-01; months beyond 12 are of the next year."""
    if month > 12:
        year, month = year + 1, month - 12
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@in_place
def _phase(boundary_ns: int, start_day: int, end_day: int) -> float:
    day_ns = DAY_S * SECOND_NS
    return (boundary_ns - start_day * day_ns) / ((end_day - start_day) * day_ns)


@in_place
def _phases(boundary_ns: int) -> tuple[float, float, float, float, float, float, float]:
    """What has passed of each cycle, in the order of CYCLES, from 0 to below 1."""
    minute_ns, hour_ns, day_ns = 60 * SECOND_NS, HOUR_S * SECOND_NS, DAY_S * SECOND_NS
    day = boundary_ns // day_ns
    year, month = civil(day)
    quarter = (month - 1) // 3 * 3 + 1
    monday = day - (day + 3) % 7  # 1970-01-01 was a Thursday
    return (
        boundary_ns % minute_ns / minute_ns,
        boundary_ns % hour_ns / hour_ns,
        boundary_ns % day_ns / day_ns,
        _phase(boundary_ns, monday, monday + 7),
        _phase(boundary_ns, first_day(year, month), first_day(year, month + 1)),
        _phase(boundary_ns, first_day(year, quarter), first_day(year, quarter + 3)),
        _phase(boundary_ns, first_day(year, 1), first_day(year + 1, 1)),
    )


@in_place
def _hours_until(hour_now: float, hour: int, cycle: int) -> float:
    """Hours until the next one strictly after now."""
    left = hour - hour_now
    return left if left > 0.0 else left + cycle


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features at `boundary_ns` into every row of `out`, float64 (n, k)."""
    params = state.params
    day = boundary_ns // (DAY_S * SECOND_NS)
    weekday = (day + 3) % 7  # Monday is 0
    hour = (boundary_ns - day * (DAY_S * SECOND_NS)) / (HOUR_S * SECOND_NS)
    phases = _phases(boundary_ns)
    for s in range(out.shape[0]):
        k = 0
        for phase in phases:
            out[s, k] = sin(2.0 * pi * phase)
            out[s, k + 1] = cos(2.0 * pi * phase)
            k += 2
        out[s, k] = 1.0 if weekday >= 5 else 0.0
        k += 1
        for session in range(params.sessions.shape[0]):
            start, end = params.sessions[session, 0], params.sessions[session, 1]
            out[s, k] = 1.0 if start <= hour < end else 0.0
            k += 1
        out[s, k] = 24.0
        for funding in params.funding_hours:
            out[s, k] = min(out[s, k], _hours_until(hour, funding, 24))
        k += 1
        expiry = 4 * 24 + params.expiry_hour[0]
        out[s, k] = _hours_until(weekday * 24 + hour, expiry, 7 * 24)
