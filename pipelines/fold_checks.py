"""Whether a fold can be learned from and judged by at all: asked before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import DatasetError
from foreshock.labels.overlap import positive_clusters
from foreshock.models.dataset import TrainingSet

Rows = NDArray[np.int64]


def check_classes(data: TrainingSet, parts: Mapping[str, Rows], least_events: int = 1) -> None:
    """Raises DatasetError, naming part and horizon, where a fold has nothing to learn from or to be
    judged by, before anything is fitted.

    parts         row numbers of `train`, `calibration` and `test`
    least_events  independent surges that the calibration part must have

    Training and calibration need both classes at every horizon. The test part needs them at one:
    the others are judged to be too small a sample.
    """
    for h in range(len(data.horizons_s)):
        check_horizon(data, {name: rows for name, rows in parts.items() if name != "test"}, h)
        held, horizon_s = parts["calibration"], data.horizons_s[h]
        chains = positive_clusters(
            data.t0_ns[held], data.t1_ns[held, h], data.symbol[held], data.labels[held, h]
        )
        events = int(chains.max(initial=-1)) + 1
        if events < least_events:
            raise DatasetError(
                f"the calibration part has {events} independent surges at {horizon_s} s, at least "
                f"{least_events} are needed"
            )
    labels = data.labels[parts["test"]]
    if not ((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).any():
        check_horizon(data, {"test": parts["test"]}, 0)


def check_horizon(data: TrainingSet, parts: Mapping[str, Rows], h: int) -> None:
    """Raises DatasetError, naming part and horizon, where a part has not both classes at horizon
    number `h`."""
    for name, rows in parts.items():
        label = data.labels[rows, h]
        known, surges = int((label >= 0).sum()), int((label == 1).sum())
        if 0 < surges < known:
            continue
        what = f"one class only, {surges} surges in {known} known labels"
        raise DatasetError(
            f"the {name} part has at {data.horizons_s[h]} s {what if known else 'no known label'}"
        )
