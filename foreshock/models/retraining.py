"""When models are made anew: schedules as data, and the pure decision what is due now.

A *target* is a schedule and a scope: what one job trains. It is due when

    schedule   a time that its schedule names has come since it was last begun
    interval   so many seconds have passed since then (schedules that name no time)
    drift      live vectors have left what the model was trained on, not sooner than a pause
    retry      the last job failed; it waits twice as long after every failure in a row

Of those that are due the one that was begun longest ago goes first, so that none starves: whatever
comes of a job, its target then stands behind all others. Times that were missed count once. Nothing
here reads a clock; `actors/retrainer.py` does, submits the jobs and keeps the records.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from foreshock.market.clock import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
WEEKDAYS: Final = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # the epoch was a Thursday
_AT: Final = re.compile(r"(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01]\d|2[0-3]):([0-5]\d)")


class Schedule(BaseModel):
    """When one thing is made anew, and by which job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="What is trained; names its jobs and its status."
    )
    enabled: bool = Field(default=True, description="Whether the schedule counts at all.")
    at: tuple[str, ...] = Field(
        default=(),
        description='Times of day in UTC, "00:30", or of a week, "Mon 00:00". Without any, '
        "`every_s` counts.",
    )
    every_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds from one start to the next, where no time is named; null takes "
        "retraining.interval_s.",
    )
    on_drift: bool = Field(
        default=False,
        description="Whether it is due too when live vectors leave what was trained on.",
    )
    kind: str = Field(
        default="",
        description="The family of models that the job needs. A schedule whose family is not "
        "installed waits, and says so; empty needs none.",
    )
    scopes: tuple[str, ...] = Field(
        default=("pooled",),
        min_length=1,
        description="A job each: pooled, group (one model for each group of like liquidity), "
        "symbol (one for each symbol).",
    )
    module: str = Field(
        default="pipelines.tune_models",
        pattern=r"^pipelines\.[a-z_]+$",
        description="The job: the deed that is submitted.",
    )
    arguments: tuple[str, ...] = Field(
        default=(), description="What is given to the deed besides where its models go."
    )
    build: tuple[str, ...] = Field(
        default=(),
        description="Arguments of pipelines.build_features, which the same job runs first, so that "
        "what was recorded since is learned from. Empty: datasets are taken as they lie.",
    )
    settings: dict[str, str] = Field(
        default={}, description="Settings of this job alone, dotted, over those of the session."
    )

    @field_validator("at")
    @classmethod
    def _times(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            if _AT.fullmatch(text) is None:
                raise ValueError(f'{text!r} is no time: write "00:30" or "Mon 00:30", UTC')
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.at and self.every_s is not None:
            raise ValueError(f"schedule {self.name} has times and an interval: one of them")
        return self

    def slot_ns(self, now_ns: int) -> int:
        """The last of its times up to now, UTC ns; only where it names any."""
        return max(_last_ns(text, now_ns) for text in self.at)


# S3.163–S3.166. Families that are not there yet wait, and say so.
SCHEDULES: Final = (
    Schedule(name="direction", at=("00:00",), on_drift=True),
    # What is said of the size is an output of the same graph, so this makes the whole model too.
    Schedule(
        name="magnitude",
        at=("00:30",),
        settings={"training.outlook.mean": "true", "training.outlook.quantiles": "[0.1, 0.5, 0.9]"},
    ),
    Schedule(name="volatility", kind="garch"),
    Schedule(name="regime", at=("Mon 00:00",), on_drift=True, kind="regime"),
)


class RetrainingSettings(BaseModel):
    """When models are made anew, kept by an actor beside the watchers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=False,
        description="Whether `up` and `demo` start the actor that keeps the schedules.",
    )
    interval_s: float = Field(
        default=3_600.0,
        gt=0,
        description="Seconds between two trainings of a schedule that names no times.",
    )
    schedules: tuple[Schedule, ...] = Field(
        default=SCHEDULES,
        description="What is trained when. Where this is given it replaces the default list whole.",
    )
    max_jobs: int = Field(
        default=1,
        ge=1,
        description="Trainings at the same time. One leaves a small machine room to watch.",
    )
    look_every_s: float = Field(
        default=5.0, gt=0, description="How often the actor looks what is due and what has ended."
    )
    job_limit_s: float = Field(
        default=21_600.0, gt=0, description="A job that takes longer is stopped, and has failed."
    )
    retry_after_s: float = Field(
        default=600.0,
        gt=0,
        description="Wait after a failure; it doubles with every one that follows, up to a day.",
    )
    max_age_s: float = Field(
        default=0.0,
        ge=0,
        description="What the cards of new models say of their age: from the end of what they "
        "learned from they may speak for so long, then they are silent. 0: they never expire.",
    )
    drift_psi: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index from which a feature counts as drifted; 0.25 is "
        "the usual line of a major shift.",
    )
    drift_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a model's features that must have drifted for a training to be due.",
    )
    drift_pause_s: float = Field(
        default=21_600.0,
        ge=0,
        description="Least time from one start to the next that drift alone brings about.",
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [schedule.name for schedule in self.schedules]
        if len(set(names)) != len(names):
            raise ValueError(f"two schedules have one name: {names}")
        return self

    def schedule(self, name: str) -> Schedule | None:
        """The schedule of a name."""
        return next((each for each in self.schedules if each.name == name), None)


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What one job trains."""

    schedule: str
    scope: str

    def __str__(self) -> str:
        return f"{self.schedule}/{self.scope}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a target. Stamps are UTC ns, 0 where it never was.

    since_ns     when it was first heard of
    started_ns   start of the last job
    ended_ns     its end
    trained_ns   end of the last job that did its work, promoted or not
    failures     in a row
    job          the job that runs, "" where none does
    cause        why it was begun: schedule, interval, drift, retry
    outcome      of the last job that ended: promoted, kept (not promoted), failed
    reason       its words
    version      of the model that it made
    """

    target: Target
    since_ns: int
    started_ns: int = 0
    ended_ns: int = 0
    trained_ns: int = 0
    failures: int = 0
    job: str = ""
    cause: str = ""
    outcome: str = ""
    reason: str = ""
    version: str = ""

    def begun(self, job: str, cause: str, now_ns: int) -> Record:
        """A job has been submitted."""
        return replace(self, job=job, cause=cause, started_ns=now_ns)

    def done(self, promoted: bool, version: str, reason: str, now_ns: int) -> Record:
        """The job did its work."""
        return replace(
            self, job="", ended_ns=now_ns, trained_ns=now_ns, failures=0, version=version,
            outcome="promoted" if promoted else "kept", reason=reason,
        )  # fmt: skip

    def failed(self, reason: str, now_ns: int) -> Record:
        """The job did not, or could not be submitted; whoever was champion goes on."""
        return replace(
            self, job="", ended_ns=now_ns, failures=self.failures + 1, outcome="failed",
            reason=reason,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, flat."""
        told = asdict(self)
        return {**told.pop("target"), **told}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Record:
        """The inverse of `as_dict`. Raises KeyError or TypeError on anything else."""
        rest = {name: value for name, value in body.items() if name not in ("schedule", "scope")}
        return cls(Target(body["schedule"], body["scope"]), **rest)


@dataclass(frozen=True, slots=True)
class Due:
    """A target that is to be trained now, and why."""

    target: Target
    cause: str


def targets(settings: RetrainingSettings) -> list[Target]:
    """Every target of the schedules that count."""
    return [
        Target(schedule.name, scope)
        for schedule in settings.schedules
        if schedule.enabled
        for scope in schedule.scopes
    ]


def known(
    records: Iterable[Record], settings: RetrainingSettings, now_ns: int
) -> dict[Target, Record]:
    """The records of today's targets: those that there are, new ones for the others. A target that
    is configured no more is left out, unless its job still runs."""
    old = {record.target: record for record in records}
    wanted = targets(settings)
    running = [target for target, record in old.items() if record.job and target not in wanted]
    return {target: old.get(target, Record(target, now_ns)) for target in [*wanted, *running]}


def due(
    settings: RetrainingSettings,
    records: Mapping[Target, Record],
    now_ns: int,
    drifted: bool = False,
    kinds: Collection[str] | None = None,
) -> list[Due]:
    """What to begin now, in this order: as many as may run beside those that run.

    drifted   whether live vectors have left what the model that speaks was trained on
    kinds     the families that are installed; None asks for none
    """
    room = settings.max_jobs - sum(bool(record.job) for record in records.values())
    waiting = [
        (record.started_ns, record.since_ns, target, cause)
        for target, record in records.items()
        if (cause := cause_of(settings, record, now_ns, drifted, kinds))
    ]
    return [Due(target, cause) for _, _, target, cause in sorted(waiting)[: max(0, room)]]


def cause_of(
    settings: RetrainingSettings,
    record: Record,
    now_ns: int,
    drifted: bool = False,
    kinds: Collection[str] | None = None,
) -> str:
    """Why a target is due, "" where it is not."""
    schedule = settings.schedule(record.target.schedule)
    if schedule is None or not schedule.enabled or record.job or waits_for(schedule, kinds):
        return ""
    if record.failures:
        return "retry" if now_ns >= retry_ns(settings, record) else ""
    last_ns = max(record.started_ns, record.since_ns)
    if schedule.at and schedule.slot_ns(now_ns) > last_ns:
        return "schedule"
    every_s = schedule.every_s or settings.interval_s
    if not schedule.at and now_ns - last_ns >= every_s * SECOND_NS:
        return "interval"
    pause_ns = settings.drift_pause_s * SECOND_NS
    if drifted and schedule.on_drift and now_ns - record.started_ns >= pause_ns:
        return "drift"
    return ""


def waits_for(schedule: Schedule, kinds: Collection[str] | None) -> str:
    """The family that a schedule lacks, "" where it lacks none."""
    return schedule.kind if kinds is not None and schedule.kind not in {"", *kinds} else ""


def retry_ns(settings: RetrainingSettings, record: Record) -> int:
    """When a failed target may be tried again."""
    wait_ns = settings.retry_after_s * SECOND_NS * 2.0 ** min(record.failures - 1, 30)
    return record.ended_ns + round(min(wait_ns, max(DAY_NS, settings.retry_after_s * SECOND_NS)))


def next_ns(settings: RetrainingSettings, record: Record, now_ns: int) -> int | None:
    """When a target comes next if nothing drifts; None where its schedule is gone."""
    schedule = settings.schedule(record.target.schedule)
    if schedule is None:
        return None
    if record.failures:
        return retry_ns(settings, record)
    last_ns = max(record.started_ns, record.since_ns)
    if not schedule.at:
        return last_ns + round((schedule.every_s or settings.interval_s) * SECOND_NS)
    if schedule.slot_ns(now_ns) > last_ns:
        return schedule.slot_ns(now_ns)
    return min(_last_ns(text, now_ns) + (7 if " " in text else 1) * DAY_NS for text in schedule.at)


def _last_ns(text: str, now_ns: int) -> int:
    """The last moment up to now that "HH:MM" or "Mon HH:MM" names."""
    found = _AT.fullmatch(text)
    assert found is not None
    within_ns = (int(found[2]) * 3_600 + int(found[3]) * 60) * SECOND_NS
    day = now_ns // DAY_NS
    if day * DAY_NS + within_ns > now_ns:
        day -= 1
    if found[1]:
        day -= (day - WEEKDAYS.index(found[1])) % 7
    return day * DAY_NS + within_ns
