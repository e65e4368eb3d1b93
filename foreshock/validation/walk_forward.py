"""Folds that walk forward in time: train, then calibrate, then test, spans never overlapping.

        |<------------ train ------------>|<- calibration ->|<- test ->|
        (purged of spans within the embargo of what follows)

Cuts are quantiles of the distinct boundaries t0, so that a hole in the data makes no empty fold;
all symbols are cut at the same times. A row belongs to the part its t0 lies in and is dropped where
its span [t0, t1] comes within the embargo of a later part's spans (López de Prado 2018, 7.4).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError, OverlapError
from foreshock.labels.overlap import overlaps, purge
from foreshock.market.clock import SECOND_NS

Times = NDArray[np.int64]
Rows = NDArray[np.int64]


class WalkForwardSettings(BaseModel):
    """How time is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int = Field(default=3, ge=1, le=50, description="Consecutive test parts of the sweep.")
    mode: Literal["expanding", "rolling"] = Field(
        default="expanding",
        description="Train on everything before, or on the last `train_share` of the time only.",
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
        default=60, ge=0, description="Least time between the spans of two parts, on either side."
    )

    @property
    def embargo_ns(self) -> int:
        """The embargo in nanoseconds."""
        return self.embargo_s * SECOND_NS


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
    """`settings.folds` folds over rows with spans [t0, t1], shape (n,) each, in any order.

    t1_ns  latest end of the row's labels over all horizons (`TrainingSet.end_ns`)

    Raises DatasetError where the shares leave no room or a part comes out empty, OverlapError never
    for its own folds: `check_fold` proves each before it is returned.
    """
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
        out.append(_cut(t0_ns, t1_ns, (start, middle, begin, end), settings.embargo_ns))
    return out


def final_fold(t0_ns: Times, t1_ns: Times, settings: WalkForwardSettings) -> Fold:
    """The one fold the shipped model comes from: its test part is the last `final_test_share` of
    the time, its calibration part lies right before it. Raises as `walk_forward`."""
    begin = 1.0 - settings.final_test_share
    middle = begin - settings.calibration_share
    if middle <= 0:
        raise DatasetError("calibration and final test leave no time to train on")
    return _cut(t0_ns, t1_ns, (0.0, middle, begin, 1.0), settings.embargo_ns)


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


def _cut(t0_ns: Times, t1_ns: Times, shares: tuple[float, ...], embargo_ns: int) -> Fold:
    times = np.unique(t0_ns)
    if len(times) < 4:
        raise DatasetError(f"{len(times)} distinct boundaries cannot be cut into parts")
    places = [min(round(share * len(times)), len(times)) for share in shares]
    bounds = [int(times[p]) if p < len(times) else int(times[-1]) + 1 for p in places]
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
                f"part: {(times[-1] - times[0]) / SECOND_NS:g} s of data are too few"
            )
    purged = len(train) + len(calibration) - len(kept_train) - len(kept_calibration)
    fold = Fold(kept_train, kept_calibration, test, purged)
    return check_fold(fold, t0_ns, t1_ns, embargo_ns)
