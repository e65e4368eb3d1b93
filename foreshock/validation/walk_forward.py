"""Folds that walk forward in time: train, then calibrate, then test, spans never overlapping.

        |<------------ train ------------>|<- calibration ->|<- test ->|
        (purged of spans within the embargo of what follows)

Time is cut in one of two ways. By shares, cuts are quantiles of the distinct boundaries t0, so that
a hole in the data makes no empty fold: that suits minutes and hours of data. By days, a preset says
how many days each part lasts, counted back from the last boundary. Either way all symbols are cut
at the same times, and a row belongs to the part its t0 lies in and is dropped where its span
[t0, t1] comes within the embargo of a later part's spans (López de Prado 2018, 7.4); a preset's
purge and embargo add up to that distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from foreshock.errors import DatasetError, OverlapError
from foreshock.labels.overlap import overlaps, purge
from foreshock.market.clock import SECOND_NS

Times = NDArray[np.int64]
Rows = NDArray[np.int64]


DAY_NS: Final = 86_400 * SECOND_NS
HOUR_NS: Final = 3_600 * SECOND_NS


class DayCut(BaseModel):
    """How time is cut by days: one preset. The days of training end where the calibration begins,
    the calibration ends where the test begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(ge=1, description="Days of the first fold's training part, in days.")
    calibration: int = Field(ge=1, description="Days of each calibration part, before its test.")
    test: int = Field(ge=1, description="Days of each test part, the judge's one too.")
    step: int = Field(ge=1, description="Days from the beginning of one test part to the next.")
    folds: int = Field(default=5, ge=1, description="Test parts of the sweep, the last ones kept.")
    purge_h: float = Field(
        default=24.0, ge=0, description="Hours kept clear between the spans of two parts."
    )
    embargo_h: float = Field(
        default=6.0, ge=0, description="Hours more that are kept clear, for what labels outlast."
    )

    @property
    def gap_ns(self) -> int:
        """Least time between the spans of two parts: purge and embargo together."""
        return round((self.purge_h + self.embargo_h) * HOUR_NS)

    @property
    def sweep_days(self) -> int:
        """Days of data that the sweep's folds take."""
        return self.train + self.calibration + self.test + (self.folds - 1) * self.step

    @property
    def days(self) -> int:
        """Days of data that a training takes: the sweep's, then the gap and the judge's test."""
        return self.sweep_days + self.test + -(-self.gap_ns // DAY_NS)


PRESETS: Final[Mapping[str, DayCut]] = {
    # 30 days of training, the last 5 of which calibrate.
    "30/7": DayCut(train=25, calibration=5, test=7, step=7),
    "90/30/30": DayCut(train=90, calibration=30, test=30, step=30),
    # For short data: labels last minutes, so that hours keep them apart.
    "10/2/2": DayCut(train=10, calibration=2, test=2, step=2, purge_h=4.0, embargo_h=2.0),
}


class WalkForwardSettings(BaseModel):
    """How time is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field(
        default="",
        description="Cut by the days of this one of `presets`; without a name, by the shares here.",
    )
    presets: dict[str, DayCut] = Field(
        default=dict(PRESETS),
        description="Presets by name: days of train, calibration, test and step. What is named "
        "here comes beside those that there are: 30/7, 90/30/30 and 10/2/2.",
    )
    folds: int = Field(
        default=3, ge=1, le=50, description="Consecutive test parts of the sweep, cut by shares."
    )
    mode: Literal["expanding", "rolling"] = Field(
        default="expanding",
        description="Train on everything before, or only on the last `train_share` of the time (a "
        "preset's training days).",
    )
    train_share: float = Field(
        default=0.4,
        gt=0,
        lt=1,
        description="Time before the first calibration part; length if rolling.",
    )
    calibration_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Time of each calibration part, right before its test part.",
    )
    final_test_share: float = Field(
        default=0.2, gt=0, lt=0.5, description="Last part of the time, which no sweep ever sees."
    )
    embargo_s: int = Field(
        default=60,
        ge=0,
        description="Least time between the spans of two parts, on either side, cut by shares.",
    )

    @field_validator("presets", mode="before")
    @classmethod
    def _beside(cls, given: Any) -> Any:
        return {**PRESETS, **given} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.preset and self.preset not in self.presets:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(self.presets)}")
        return self

    @property
    def cut(self) -> DayCut | None:
        """The preset's days; None where shares cut."""
        return self.presets[self.preset] if self.preset else None

    @property
    def embargo_ns(self) -> int:
        """Least time between the spans of two parts, in nanoseconds."""
        return self.embargo_s * SECOND_NS if self.cut is None else self.cut.gap_ns


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of three parts, each ascending in t0, and how many rows the purge cost."""

    train: Rows
    calibration: Rows
    test: Rows
    purged: int

    @property
    def parts(self) -> dict[str, Rows]:
        """The parts by name, in order of time."""
        return {"train": self.train, "calibration": self.calibration, "test": self.test}


def walk_forward(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings) -> list[Fold]:
    """The sweep's folds over rows with spans [t0, t1], shape (n,) each, in any order.

    t1_ns  latest end of the row's labels over all horizons (`TrainingSet.end_ns`)

    Raises DatasetError where the shares leave no room, the data last fewer days than the preset
    needs, or a part comes out empty; OverlapError never for its own folds: `check_fold` proves each
    before it is returned.
    """
    if settings.cut is not None:
        return _by_days(t0_ns, t1_ns, settings, settings.cut)
    first = settings.train_share + settings.calibration_share
    if first >= 1:
        raise DatasetError(
            f"train and calibration take {first:g} of the time: none is left to test"
        )
    edges = np.linspace(first, 1.0, settings.folds + 1)
    out = []
    for begin, end in itertools.pairwise(edges):
        middle = begin - settings.calibration_share
        start = max(0.0, middle - settings.train_share) if settings.mode == "rolling" else 0.0
        bounds = _quantiles(t0_ns, (start, middle, begin, end))
        out.append(_fold(t0_ns, t1_ns, bounds, settings.embargo_ns))
    return out


def final_fold(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings) -> Fold:
    """The one fold the shipped model comes from: its test part is the last `final_test_share` of
    the time (the preset's test days), its calibration part lies right before it. Raises as
    `walk_forward`."""
    if settings.cut is not None:
        return _last_days(t0_ns, t1_ns, settings, settings.cut)
    begin = 1.0 - settings.final_test_share
    middle = begin - settings.calibration_share
    if middle <= 0:
        raise DatasetError("calibration and final test leave no time to train on")
    bounds = _quantiles(t0_ns, (0.0, middle, begin, 1.0))
    return _fold(t0_ns, t1_ns, bounds, settings.embargo_ns)


def sweep_rows(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings) -> Rows:
    """The rows a sweep may see: all whose spans stay an embargo away from the final test part."""
    fold = final_fold(t0_ns, t1_ns, settings)
    begin = int(t0_ns[fold.test].min())
    before = np.flatnonzero(t0_ns < begin)
    return purge(before, fold.test, t0_ns, t1_ns, settings.embargo_ns)


def check_fold(fold: Fold, t0_ns: Times, t1_ns: Times, embargo_ns: int = 0) -> Fold:
    """Raises OverlapError, naming a row and the span, where spans of two parts come within
    `embargo_ns` of each other or a part does not follow the one before; returns the fold.

    Training calls this on whatever folds it is handed, its own or not.
    """
    parts = list(fold.parts.items())
    for name, rows in parts:
        if len(rows) == 0:
            raise DatasetError(f"the {name} part is empty")
    for i, (name, rows) in enumerate(parts):
        for later, held in parts[i + 1 :]:
            meet = overlaps(t0_ns[rows], t1_ns[rows], t0_ns[held], t1_ns[held], embargo_ns)
            if meet.any():
                row = int(rows[np.argmax(meet)])
                raise OverlapError(
                    f"row {row} of the {name} part, span [{t0_ns[row]}, {t1_ns[row]}] ns, comes "
                    f"within {embargo_ns} ns of a span of the {later} part"
                )
            if t0_ns[rows].max() >= t0_ns[held].min():
                raise OverlapError(f"the {name} part does not lie before the {later} part")
    return fold


def _quantiles(t0_ns: Times, shares: tuple[float, ...]) -> list[int]:
    """The times below which `shares` of the distinct boundaries lie."""
    times = np.unique(t0_ns)
    if len(times) < 4:
        raise DatasetError(f"{len(times)} distinct boundaries cannot be cut into parts")
    places = [min(round(share * len(times)), len(times)) for share in shares]
    return [int(times[p]) if p < len(times) else int(times[-1]) + 1 for p in places]


def _extent(t0_ns: Times) -> tuple[int, int]:
    """(first boundary, one sampling step after the last), so that whole days stay whole."""
    times = np.unique(t0_ns)
    if len(times) < 4:
        raise DatasetError(f"{len(times)} distinct boundaries cannot be cut into parts")
    return int(times[0]), int(times[-1]) + int(np.diff(times).min())


def _by_days(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings, cut: DayCut) -> list[Fold]:
    first, last = _extent(t0_ns)
    _enough(first, last, cut.sweep_days, settings.preset, f"its {cut.folds} folds", cut)
    out = []
    for back in reversed(range(cut.folds)):
        end = last - back * cut.step * DAY_NS
        out.append(_days_to(end, first, t0_ns, t1_ns, settings, cut))
    return out


def _last_days(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings, cut: DayCut) -> Fold:
    first, last = _extent(t0_ns)
    _enough(first, last, cut.days, settings.preset, f"{cut.folds} folds and the judge's test", cut)
    return _days_to(last, first, t0_ns, t1_ns, settings, cut)


def _days_to(
    end: int, first: int, t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings, cut: DayCut
) -> Fold:
    """The fold whose test part ends at `end`."""
    begin = end - cut.test * DAY_NS
    middle = begin - cut.calibration * DAY_NS
    start = middle - cut.train * DAY_NS if settings.mode == "rolling" else first
    return _fold(t0_ns, t1_ns, [start, middle, begin, end], settings.embargo_ns)


def _enough(first: int, last: int, days: int, preset: str, what: str, cut: DayCut) -> None:
    """A day that has begun counts: features take hours to warm up at the beginning of data."""
    have = -(-(last - first) // DAY_NS)
    if have < days:
        raise DatasetError(
            f"preset {preset} needs {days} days for {what} ({cut.days} days with what the judge "
            f"keeps), the data last {(last - first) / DAY_NS:.2f}"
        )


def _fold(t0_ns: Times, t1_ns: Times, bounds: list[int], embargo_ns: int) -> Fold:
    """The fold of the parts between four times, purged and checked."""
    order = np.argsort(t0_ns, kind="stable").astype(np.int64)
    place = np.searchsorted(t0_ns[order], bounds, side="left")
    parts = [order[a:b] for a, b in itertools.pairwise(place)]
    names = ("train", "calibration", "test")
    for name, rows in zip(names, parts, strict=True):
        if len(rows) == 0:
            raise DatasetError(f"the {name} part is empty")
    train, calibration, test = parts
    kept_calibration = purge(calibration, test, t0_ns, t1_ns, embargo_ns)
    later = np.concatenate([calibration, test])
    kept_train = purge(train, later, t0_ns, t1_ns, embargo_ns)
    for name, rows in (("train", kept_train), ("calibration", kept_calibration)):
        if len(rows) == 0:
            raise DatasetError(
                f"purge and an embargo of {embargo_ns / SECOND_NS:g} s leave nothing of the {name} "
                f"part: {(t0_ns.max() - t0_ns.min()) / SECOND_NS:g} s of data are too few"
            )
    purged = len(train) + len(calibration) - len(kept_train) - len(kept_calibration)
    fold = Fold(kept_train, kept_calibration, test, purged)
    return check_fold(fold, t0_ns, t1_ns, embargo_ns)
