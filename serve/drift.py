"""How far live vectors have left what the model that speaks was trained on, kept by the gate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import Boundary
from foreshock.errors import ForeshockError
from foreshock.features.vector import Layout
from foreshock.market.clock import SECOND_NS
from foreshock.stores.registry import Registry
from foreshock.validation.drift import HALF_LIFE_S, DriftWatch, Reference, read_reference

_LOG = logging.getLogger(__name__)
EVERY_S: Final = 10  # boundaries that are looked at: neighbours say nearly the same

FindReference = Callable[[str], Reference | None]


class Drift:
    """A `DriftWatch` of the pooled model's features over the vectors of all watchers.

    find          version → what it was trained on; None where it kept nothing
    layout        of the watchers' vectors
    half_life_s   see `DriftWatch`
    """

    def __init__(
        self, find: FindReference, layout: Layout, half_life_s: float = HALF_LIFE_S
    ) -> None:
        self._find, self._layout, self._half_life_s = find, layout, half_life_s
        self._version: str | None = None
        self._watch: DriftWatch | None = None
        self._columns: NDArray[np.int64] = np.zeros(0, np.int64)

    def observe(self, version: str | None, boundary: Boundary) -> bool:
        """Look at a boundary; False where it was passed over. A new model begins anew with its own
        reference."""
        if boundary.boundary_ns // SECOND_NS % EVERY_S:
            return False
        if version != self._version:
            self._begin(version)
        if self._watch is not None and boundary.vectors.shape[1] == len(self._layout):
            self._watch.observe(boundary.vectors[:, self._columns], boundary.boundary_ns)
        return True

    def as_dict(self) -> dict[str, Any] | None:
        """JSON-ready: the index of every feature, the worst by name; None where nothing is known
        of the model that speaks."""
        watch = self._watch
        if watch is None or not watch.counts.any():
            return None
        return {
            "version": self._version,
            "seen_s": watch.seen_s,
            "enough": watch.seen_s >= watch.half_life_s / 2,
            "psi": [round(float(value), 4) for value in watch.psi()],
            "ks": round(float(watch.ks().max(initial=0.0)), 4),
            "worst": watch.worst(),
        }

    def _begin(self, version: str | None) -> None:
        self._version, self._watch = version, None
        if version is None:
            return
        try:
            reference = self._find(version)
            if reference is not None:
                self._columns = np.array(self._layout.columns(reference.names), np.int64)
                self._watch = DriftWatch(reference, self._half_life_s)
        except (ForeshockError, KeyError, ValueError) as error:
            _LOG.warning("no drift is watched for model %s: %s", version, error)


def reference_in(registry: Registry, version: str) -> Reference | None:
    """What a registered model was trained on; None where it kept nothing. Raises ModelError where
    that cannot be read."""
    for name in registry.names():
        path = registry.find(name, version)
        if path is not None:
            return read_reference(path)
    return None
