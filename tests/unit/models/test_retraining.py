"""What is due, over simulated time: the schedules of S3.163–S3.166, failures, drift, fairness."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import ValidationError

from foreshock.market.clock import SECOND_NS
from foreshock.models.retraining import (
    DAY_NS,
    Record,
    RetrainingSettings,
    Schedule,
    Target,
    cause_of,
    due,
    known,
    next_ns,
    retry_ns,
    targets,
    waits_for,
)

HOUR_NS = 3_600 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def only(schedule: Schedule, **more) -> RetrainingSettings:
    return RetrainingSettings(enabled=True, schedules=(schedule,), **more)


def run(settings, from_ns, until_ns, *, takes_ns=60 * SECOND_NS, fails=lambda t, now: False,
        drifted=lambda now: False, step_ns=MINUTE_NS, kinds=None):  # fmt: skip
    """Starts (time, target, cause) of an actor that looks every `step_ns`."""
    records, starts = known((), settings, from_ns), []
    for now_ns in range(from_ns, until_ns, step_ns):
        for target, record in records.items():
            if record.job and now_ns - record.started_ns >= takes_ns:
                records[target] = (
                    record.failed("as it must", now_ns)
                    if fails(target, now_ns)
                    else record.done(True, "1", "well", now_ns)
                )
        for each in due(settings, records, now_ns, drifted(now_ns), kinds):
            starts.append((now_ns, each.target, each.cause))
            records[each.target] = records[each.target].begun("job", each.cause, now_ns)
    return starts, records


def test_the_default_schedules_are_those_of_the_requirements() -> None:
    settings = RetrainingSettings()
    told = {s.name: (s.at, s.every_s, s.on_drift) for s in settings.schedules}
    assert told["direction"][0] == ("00:00",)
    assert told["magnitude"][0] == ("00:30",)
    assert told["volatility"] == ((), None, False) and settings.interval_s == 3_600
    assert told["regime"] == (("Mon 00:00",), None, True)
    starts, _ = run(settings, at("2026-11-21T10:17"), at("2026-11-24T10:17"))  # a Saturday
    of = {s.name: [now for now, t, _ in starts if t.schedule == s.name] for s in settings.schedules}
    # On Monday the regime's goes first: it was never begun before.
    days = ("22T00:00", "23T00:01", "24T00:00")
    assert of["direction"] == [at(f"2026-11-{day}") for day in days]
    assert of["magnitude"] == [at(f"2026-11-{d}T00:30") for d in (22, 23, 24)]
    assert of["regime"] == [at("2026-11-23T00:00")]
    assert of["volatility"][0] == at("2026-11-21T11:17") and len(of["volatility"]) >= 70


@pytest.mark.parametrize(
    ("text", "now", "last"),
    [
        ("00:00", "2026-11-21T00:00", "2026-11-21T00:00"),
        ("00:30", "2026-11-21T00:29", "2026-11-20T00:30"),
        ("23:59", "2026-03-01T00:00", "2026-02-28T23:59"),
        ("Mon 00:00", "2026-11-22T23:59", "2026-11-16T00:00"),
        ("Mon 00:00", "2026-11-23T00:00", "2026-11-23T00:00"),
        ("Sat 12:00", "2026-11-21T11:59", "2026-11-14T12:00"),
    ],
)
def test_the_last_time_of_a_schedule(text: str, now: str, last: str) -> None:
    assert Schedule(name="one", at=(text,)).slot_ns(at(now)) == at(last)


@given(
    st.integers(0, 4_000 * 24 * 60),
    st.sampled_from(["", "Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "]),
    st.integers(0, 23),
    st.integers(0, 59),
)
def test_the_last_time_agrees_with_a_walk_through_the_calendar(minute, day, hour, within) -> None:
    now = minute * MINUTE_NS
    wanted = f"{day}{hour:02d}:{within:02d}"
    found = Schedule(name="one", at=(wanted,)).slot_ns(now)
    assert found <= now
    told = datetime.fromtimestamp(found / SECOND_NS, UTC)
    assert told.strftime("%H:%M") == f"{hour:02d}:{within:02d}"
    assert not day or told.strftime("%a ") == day
    assert now - found < (7 if day else 1) * DAY_NS


def test_times_that_were_missed_count_once() -> None:
    settings = only(Schedule(name="one", at=("00:00",)))
    record = Record(Target("one", "pooled"), at("2026-11-01T12:00"))
    late = at("2026-11-21T07:00")
    assert cause_of(settings, record, late) == "schedule"
    again = record.begun("job", "schedule", late).done(False, "1", "", late + HOUR_NS)
    assert cause_of(settings, again, late + 2 * HOUR_NS) == ""
    assert next_ns(settings, again, late + 2 * HOUR_NS) == at("2026-11-22T00:00")


def test_a_failure_waits_twice_as_long_every_time_and_a_success_forgets_it() -> None:
    settings = only(Schedule(name="one", every_s=60.0), retry_after_s=600.0)
    starts, records = run(
        settings, 0, 6 * HOUR_NS, fails=lambda _, now: now < 4 * HOUR_NS, takes_ns=MINUTE_NS
    )
    times = [now // MINUTE_NS for now, _, _ in starts]
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert waits[:4] == [11, 21, 41, 81]  # a minute of the job, then 10, 20, 40, 80
    assert [cause for _, _, cause in starts[:2]] == ["interval", "retry"]
    assert waits[-1] == 1 and records[Target("one", "pooled")].failures == 0


def test_a_failure_never_waits_more_than_a_day() -> None:
    settings = only(Schedule(name="one"))
    record = Record(Target("one", "pooled"), 0, ended_ns=5, failures=400)
    assert retry_ns(settings, record) == 5 + DAY_NS


def test_drift_makes_only_those_due_that_ask_for_it_and_not_all_the_time() -> None:
    given = (
        Schedule(name="deaf", at=("00:00",)),
        Schedule(name="wary", at=("00:00",), on_drift=True),
    )
    settings = RetrainingSettings(schedules=given, drift_pause_s=6 * 3_600.0)
    begin = at("2026-11-21T01:00")
    starts, _ = run(settings, begin, begin + 20 * HOUR_NS, drifted=lambda _: True)
    assert {t.schedule for _, t, _ in starts} == {"wary"}
    times = [now for now, _, _ in starts]
    assert times[0] == begin and len(times) == 4  # at once, then every six hours
    assert all(b - a >= 6 * HOUR_NS for a, b in itertools.pairwise(times))


def test_a_schedule_whose_family_is_missing_waits_and_says_so() -> None:
    schedule = Schedule(name="volatility", kind="garch", every_s=60.0)
    settings = only(schedule)
    assert waits_for(schedule, ("boosted",)) == "garch"
    assert run(settings, 0, HOUR_NS, kinds=("boosted",))[0] == []
    assert run(settings, 0, HOUR_NS, kinds=("boosted", "garch"))[0] != []


def test_no_more_run_at_once_than_may() -> None:
    many = tuple(Schedule(name=f"n{i}", every_s=60.0) for i in range(5))
    settings = RetrainingSettings(schedules=many, max_jobs=2)
    records = known((), settings, 0)
    first = due(settings, records, HOUR_NS)
    assert len(first) == 2
    for each in first:
        records[each.target] = records[each.target].begun("job", each.cause, HOUR_NS)
    assert due(settings, records, 2 * HOUR_NS) == []


def test_records_survive_as_json_and_follow_the_settings() -> None:
    settings = only(Schedule(name="one", scopes=("pooled", "symbol")))
    records = known((), settings, 7)
    assert [str(target) for target in records] == ["one/pooled", "one/symbol"]
    told = [record.begun("j", "drift", 9).as_dict() for record in records.values()]
    back = [Record.from_dict(each) for each in told]
    other = only(Schedule(name="two"))
    kept = known(back, other, 11)
    assert set(kept) == {
        Target("two", "pooled"),
        *records,
    }  # those that run are followed to the end
    ended = [record.failed("", 12) for record in back]
    assert set(known(ended, other, 13)) == {Target("two", "pooled")}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="is no time"):
        Schedule(name="one", at=("24:00",))
    with pytest.raises(ValidationError, match="one of them"):
        Schedule(name="one", at=("00:00",), every_s=5.0)
    with pytest.raises(ValidationError, match="one name"):
        RetrainingSettings(schedules=(Schedule(name="one"), Schedule(name="one")))
    with pytest.raises(ValidationError):
        Schedule(name="one", module="os.system")


@effort(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 2),
    st.data(),
)
def test_none_starves_whatever_fails_and_however_long_jobs_take(names, scopes, jobs, data) -> None:
    """Of n targets that are due all the time each is among any n starts in a row, one more for each
    other job that may run beside it; and those that fail are tried too."""
    every = tuple(
        Schedule(name=f"n{i}", every_s=60.0, scopes=tuple(f"s{j}" for j in range(scopes)))
        for i in range(names)
    )
    settings = RetrainingSettings(schedules=every, max_jobs=jobs, retry_after_s=300.0)
    all_of_them = targets(settings)
    bad = set(data.draw(st.lists(st.sampled_from(all_of_them), max_size=len(all_of_them) - 1)))
    takes = data.draw(st.integers(1, 15)) * MINUTE_NS
    starts, _ = run(
        settings, 0, 20 * HOUR_NS, takes_ns=takes, fails=lambda target, _: target in bad
    )
    assert {target for _, target, _ in starts} == set(all_of_them)
    good = [target for _, target, _ in starts if target not in bad]
    n = len(all_of_them) - len(bad)
    window = n + jobs - 1  # those that are begun at one look are of one age
    for i in range(len(good) - window + 1):
        assert len(set(good[i : i + window])) == n
