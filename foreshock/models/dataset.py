"""What a model is trained on: vectors, labels with spans, and what trading them would give."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from foreshock.errors import DatasetError
from foreshock.features.vector import fingerprint_of
from foreshock.market.clock import SECOND_NS
from foreshock.models.base import Domain


class Manifest(BaseModel):
    """What a dataset must say of itself, and may. Whatever else it says is not looked at."""

    model_config = ConfigDict(frozen=True, extra="allow")

    feature_names: Sequence[StrictStr] = Field(description="k names in column order.")
    required_features: Sequence[StrictStr] = Field(
        description="Those that must be warm before a vector may be scored."
    )
    feature_digests: Mapping[StrictStr, StrictStr] = Field(
        description="foreshock.features.vector.FeatureSpec.digest by name, in column order."
    )
    layout_fingerprint: StrictStr = Field(description="Of foreshock.features.vector.Layout.")
    label_fingerprint: StrictStr = Field(description="Of foreshock.labels.barriers.LabelSettings.")
    horizons_s: Sequence[StrictInt] = Field(description="H ascending horizons, seconds.")
    domain: Domain = Field(description="Whose rows these are: source, market, tier.")
    recorded_to_ns: Mapping[StrictStr, StrictInt] | None = Field(
        default=None,
        description="By symbol, when the last of what was recorded of it arrived. A label that is "
        "known although its span ends behind that is a label of the future.",
    )


MANIFEST_KEYS: Final = tuple(n for n, field in Manifest.model_fields.items() if field.is_required())


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """n rows, k features, H horizons; a row is one symbol at one sampling boundary.

    X            float32 (n, k); NaN where a feature was not warm, never infinite
    labels       int8 (n, H): 1 surge, 0 none, -1 censored
    t0_ns        int64 (n,): the boundary
    t1_ns        int64 (n, H): end of the label's span, from t0 to t0 plus the horizon
    symbol       int32 (n,): index into `symbols`
    symbols      names
    outcome_bps  float32 (n, H): return from mid to mid over the span, plus is a gain, costs not yet
                 taken; NaN where censored
    bill_bps     float32 (n, H): the whole bill at t0 of a position held for the horizon
    far_bps, near_bps   float32 (n, H): distances of the barriers
    weights      float32 (n,) or None: average uniqueness or the like
    manifest     JSON-ready mapping, a `Manifest`
    """

    X: NDArray[np.float32]
    labels: NDArray[np.int8]
    t0_ns: NDArray[np.int64]
    t1_ns: NDArray[np.int64]
    symbol: NDArray[np.int32]
    symbols: tuple[str, ...]
    outcome_bps: NDArray[np.float32]
    bill_bps: NDArray[np.float32]
    far_bps: NDArray[np.float32]
    near_bps: NDArray[np.float32]
    manifest: Mapping[str, Any]
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.t0_ns)

    @property
    def horizons_s(self) -> tuple[int, ...]:
        """The H horizons, seconds."""
        return tuple(int(h) for h in self.manifest["horizons_s"])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The k columns of X."""
        return tuple(self.manifest["feature_names"])

    @property
    def end_ns(self) -> NDArray[np.int64]:
        """int64 (n,): the latest t1 over the horizons, censored ones included."""
        out: NDArray[np.int64] = self.t1_ns.max(axis=1)
        return out

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every array, the symbols and the manifest."""
        digest = hashlib.sha256(json.dumps(dict(self.manifest), sort_keys=True).encode())
        digest.update(json.dumps(self.symbols).encode())
        for name, value in self.arrays().items():
            digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by field name, weights only where given."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}

    def take(self, rows: NDArray[np.int64]) -> TrainingSet:
        """The given rows, in the given order. A copy."""
        taken: dict[str, Any] = {name: value[rows] for name, value in self.arrays().items()}
        return replace(self, **taken)

    def with_features(self, patterns: Sequence[str]) -> TrainingSet:
        """The same rows with the features that any of the patterns names (`*` for any letters), in
        column order. Raises DatasetError where a pattern names none."""
        names = self.feature_names
        chosen = [name for name in names if any(fnmatchcase(name, p) for p in patterns)]
        idle = [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]
        if idle:
            raise DatasetError(f"no feature of the dataset is called {idle}")
        if len(chosen) == len(names):
            return self
        digests = {name: self.manifest["feature_digests"][name] for name in chosen}
        required = [name for name in self.manifest["required_features"] if name in digests]
        manifest = {
            **self.manifest,
            "feature_names": chosen,
            "feature_digests": digests,
            "required_features": required,
            "layout_fingerprint": fingerprint_of(digests),
        }
        columns = [names.index(name) for name in chosen]
        return replace(self, X=np.ascontiguousarray(self.X[:, columns]), manifest=manifest)

    def in_order(self) -> TrainingSet:
        """The same rows ordered by (t0, symbol)."""
        return self.take(np.lexsort((self.symbol, self.t0_ns)).astype(np.int64))

    def check(self) -> TrainingSet:
        """Raises DatasetError, with the reason and the place, on anything that must not be trained
        on; returns itself."""
        check_manifest(self.manifest)
        self._check_manifest()
        self._check_shapes()
        self._check_values()
        self._check_rows()
        self._check_future()
        return self

    def _check_manifest(self) -> None:
        horizons = self.horizons_s
        if not horizons or sorted(set(horizons)) != list(horizons) or horizons[0] <= 0:
            raise DatasetError(f"horizons_s must ascend and be positive, got {horizons}")
        names = self.feature_names
        if len(set(names)) != len(names):
            raise DatasetError("a feature is named twice in the manifest")
        if set(self.manifest["feature_digests"]) != set(names):
            raise DatasetError("feature_digests are not those of feature_names")
        unknown = sorted(set(self.manifest["required_features"]) - set(names))
        if unknown:
            raise DatasetError(f"required_features names what is no feature: {unknown}")

    def _check_shapes(self) -> None:
        n, k, h = len(self.t0_ns), len(self.feature_names), len(self.horizons_s)
        if n == 0:
            raise DatasetError("the dataset has no rows")
        expected: dict[str, tuple[tuple[int, ...], type]] = {
            "X": ((n, k), np.float32),
            "labels": ((n, h), np.int8),
            "t0_ns": ((n,), np.int64),
            "t1_ns": ((n, h), np.int64),
            "symbol": ((n,), np.int32),
            "outcome_bps": ((n, h), np.float32),
            "bill_bps": ((n, h), np.float32),
            "far_bps": ((n, h), np.float32),
            "near_bps": ((n, h), np.float32),
            "weights": ((n,), np.float32),
        }
        for name, value in self.arrays().items():
            shape, dtype = expected[name]
            if value.dtype.kind == "f" and dtype is np.int8 and np.isnan(value).any():
                row = int(np.argwhere(np.isnan(value))[0][0])
                raise DatasetError(f"{name} is NaN at row {row}; censored labels are -1")
            if value.shape != shape or value.dtype != dtype:
                raise DatasetError(
                    f"{name} is {value.dtype} {value.shape}, expected {np.dtype(dtype)} {shape}"
                )

    def _check_values(self) -> None:
        _refuse(~np.isin(self.labels, (-1, 0, 1)), "labels holds something else than -1, 0 and 1")
        _refuse(np.isinf(self.X), "X is infinite")
        _refuse(self.t1_ns < self.t0_ns[:, None], "a label ends before it begins (t1_ns < t0_ns)")
        # A window is the closed [t0, t0 + h] (foreshock.labels.barriers, 1 and 6).
        horizon_ns = np.array(self.horizons_s, np.int64) * SECOND_NS
        _refuse(
            self.t1_ns - self.t0_ns[:, None] > horizon_ns,
            "a label of the future: its span ends behind its horizon (t1_ns > t0_ns + horizon)",
        )
        _refuse(
            (self.symbol < 0) | (self.symbol >= len(self.symbols)),
            f"symbol is no index into the {len(self.symbols)} symbols",
        )
        known = self.labels >= 0
        _refuse(
            known & ~np.isfinite(self.outcome_bps), "outcome_bps of a known label is not finite"
        )
        priced = np.isfinite(self.far_bps) & np.isfinite(self.near_bps)
        _refuse(known & ~priced, "a known label has no barrier (far_bps or near_bps not finite)")
        _refuse(known & ~np.isfinite(self.bill_bps), "bill_bps of a known label is not finite")
        if self.weights is not None:
            bad = ~np.isfinite(self.weights) | (self.weights < 0)
            _refuse(bad, "weights is negative or not finite")
            if not self.weights.any():
                raise DatasetError("weights is 0 throughout: no row counts")

    def _check_rows(self) -> None:
        """No symbol has two rows at one time."""
        order = np.lexsort((self.t0_ns, self.symbol))
        same = (np.diff(self.symbol[order]) == 0) & (np.diff(self.t0_ns[order]) == 0)
        if same.any():
            row = int(order[int(np.argmax(same)) + 1])
            name = self.symbols[int(self.symbol[row])]
            raise DatasetError(f"{name} has two rows at t0_ns {int(self.t0_ns[row])}")

    def _check_future(self) -> None:
        """No label is known before the end of its span was recorded."""
        recorded = self.manifest.get("recorded_to_ns")
        if recorded is None:
            return
        silent = [
            self.symbols[i] for i in np.unique(self.symbol) if self.symbols[i] not in recorded
        ]
        if silent:
            raise DatasetError(f"recorded_to_ns says nothing of {silent}")
        end_ns = np.array([recorded.get(name, 0) for name in self.symbols], np.int64)[self.symbol]
        future = (self.labels >= 0) & (self.t1_ns > end_ns[:, None])
        if future.any():
            row, h = (int(i) for i in np.argwhere(future)[0])
            raise DatasetError(
                f"a label of the future: {self.symbols[int(self.symbol[row])]} at t0_ns "
                f"{int(self.t0_ns[row])} has a known label at {self.horizons_s[h]} s whose span "
                f"ends at {int(self.t1_ns[row, h])}, but recorded is only up to {int(end_ns[row])}"
            )


def check_manifest(manifest: Any) -> None:
    """Raises DatasetError, naming the key, where a manifest is not a `Manifest`."""
    if not isinstance(manifest, Mapping):
        raise DatasetError(f"the manifest is {reprlib.repr(manifest)}, not a mapping of keys")
    missing = [key for key in MANIFEST_KEYS if key not in manifest]
    if missing:
        raise DatasetError(f"the manifest lacks {missing}")
    try:
        Manifest.model_validate(dict(manifest))
    except ValidationError as error:
        first = error.errors()[0]
        where, got = ".".join(map(str, first["loc"])), reprlib.repr(first["input"])
        raise DatasetError(f"the manifest's {where}: {first['msg']}, got {got}") from error


def _refuse(bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise DatasetError(f"{what}: first at {tuple(int(i) for i in np.argwhere(bad)[0])}")
