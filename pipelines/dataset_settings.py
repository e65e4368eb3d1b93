"""What a dataset is made of and how: the tier of its input, features, labels, bill."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

import foreshock
from foreshock.config import Section
from foreshock.costs.total import CostSettings
from foreshock.engine.provenance import made_with
from foreshock.features import catalog
from foreshock.features.settings import FeatureSettings
from foreshock.features.vector import Layout
from foreshock.labels.barriers import LONG, LabelSettings
from foreshock.market.clock import SECOND_NS

Tier = Literal["bars", "tape", "book"]
TIERS: Final[tuple[Tier, ...]] = ("bars", "tape", "book")
BAR_S: Final = 60
# Bars arrive a little after they have closed: the boundary lies so far behind the minute that the
# bar is in, and the next open is the entry.
BARS_PHASE_S: Final = 1
DAY_NS: Final = 86_400 * SECOND_NS
# The code that a dataset's bytes follow from; the rest of the tree may change freely.
_ROOMS: Final = ("market", "features", "engine", "costs", "labels")
_MODULES: Final = ("dataset_settings", "dataset_play", "dataset_labels", "dataset_day", "datasets")


@cache
def _code_digest() -> str:
    library, digest = Path(foreshock.__file__).parent, hashlib.sha256()
    files = [path for room in _ROOMS for path in sorted((library / room).rglob("*.py"))]
    for path in [*files, *(Path(__file__).with_name(f"{name}.py") for name in _MODULES)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class DatasetSettings(Section):
    """One dataset. Whatever changes a byte of it is here or in the rows."""

    tier: Tier = Field(
        default="book",
        description="What the rows are judged by: the touch of the book, the tape's prices, or "
        "one-minute bars. Features that need more than the tier has are left out.",
    )
    side: Literal[1, -1] = Field(default=LONG, description="Surges upwards (1) or downwards (-1).")
    every_s: int = Field(
        default=1,
        ge=1,
        description="Keep the boundaries at multiples of so many seconds; neighbours of one second "
        "say nearly the same. Bars are a minute apart anyway.",
    )
    half_spread_bps: float = Field(
        default=1.0,
        ge=0,
        description="Half the spread that is assumed where no book tells it (tiers tape and bars).",
    )
    labels: LabelSettings = Field(default=LabelSettings(), description="What a surge is.")
    costs: CostSettings = Field(default=CostSettings(), description="The bill.")
    features: FeatureSettings = Field(
        default=FeatureSettings(), description="What vectors are made of."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        longest, shortest = self.labels.horizons_s[-1], self.labels.horizons_s[0]
        if 2 * longest > DAY_NS // SECOND_NS:
            raise ValueError(f"a horizon of {longest} s is longer than half a day")
        if self.tier == "bars" and shortest < 2 * BAR_S:
            raise ValueError(
                f"a horizon of {shortest} s holds no whole bar behind the entry: at least "
                f"{2 * BAR_S} s on bars"
            )
        if not self._families():
            raise ValueError(f"none of the features can be had of the tier {self.tier}")
        return self

    @property
    def step_ns(self) -> int:
        """The sampling step."""
        return (BAR_S if self.tier == "bars" else 1) * SECOND_NS

    @property
    def phase_ns(self) -> int:
        """How far the boundaries lie behind the multiples of the step."""
        return BARS_PHASE_S * SECOND_NS if self.tier == "bars" else 0

    def _families(self) -> tuple[str, ...]:
        """Those that the tier has everything for; a family goes as a whole: it is one kernel."""
        missing = TIERS[TIERS.index(self.tier) + 1 :]
        return tuple(
            name
            for name, family, given in catalog.FeatureSet(self.features).families
            if not any(spec.needs in missing for spec in family.specs(given))
        )

    @property
    def set(self) -> FeatureSettings:
        """The features without the families that the tier lacks the input for."""
        return self.features.model_copy(update={"families": self._families()})

    @property
    def layout(self) -> Layout:
        """Of the vectors."""
        return catalog.layout(self.set)

    @property
    def required(self) -> NDArray[np.int64]:
        """Columns that must be warm for a row to be kept."""
        return np.flatnonzero([catalog.is_required(spec) for spec in self.layout])

    @property
    def versioned(self) -> LabelSettings:
        """The labels' settings with the version of this bill."""
        return self.labels.model_copy(update={"bill_version": self.costs.version})

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the settings, the code and what bits depend on besides."""
        bits = made_with(catalog.FeatureSet(self.set))
        body = {
            "settings": self.model_dump(mode="json"),
            **{name: bits[name] for name in ("layout", "numba", "numpy", "cpu")},
            "code": _code_digest(),
        }
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]

    def manifest(self, source: str, market: str) -> dict[str, Any]:
        """What a training set must say of itself (`foreshock.models.dataset.MANIFEST_KEYS`)."""
        labels, names = self.versioned, self.layout.names
        return {
            "feature_names": list(names),
            "required_features": [names[k] for k in self.required.tolist()],
            "feature_digests": {spec.name: spec.digest for spec in self.layout},
            "layout_fingerprint": self.layout.fingerprint,
            "label_fingerprint": labels.fingerprint,
            "label_settings": labels.model_dump(mode="json"),
            "bill_version": self.costs.version,
            "horizons_s": list(labels.horizons_s),
            "domain": {"source": source, "market": market, "tier": self.tier},
            "side": self.side,
            "every_s": self.every_s,
            "half_spread_bps": self.half_spread_bps if self.tier != "book" else None,
        }
