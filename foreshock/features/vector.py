"""The layout of a feature vector: which column is which feature, and the set's fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from foreshock.errors import ForeshockError

Need = Literal["tape", "book", "bars", "derivatives", "context", "series", "time"]
NEEDS: Final[tuple[Need, ...]] = (
    "tape", "book", "bars", "derivatives", "context", "series", "time",
)  # fmt: skip
# What has epochs: an age by which a window is known to be full. The value of every other feature
# is warm where it is known.
WITH_EPOCHS: Final = ("tape", "book")
_TIERS: Final = ("bars", "tape", "book")


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature, explained.

    name        column name; window and half-life are part of it (`flow_imbalance_10s`)
    family      the file that computes it: flow, depth, variation …
    formula     in words and symbols
    unit        "1" (a ratio), "bps", "log" …
    needs       the input whose epoch must be good, or that must have come, for the value to mean
                anything
    warmup_s    seconds of a good epoch until the value is given (tape, book), or about how long it
                takes from nothing until it is known (all others); before that NaN
    nan_rule    when it is NaN although warm
    source      paper and section, or "definition"
    windows_s   windows and half-lives that it looks back over, seconds
    """

    name: str
    family: str
    formula: str
    unit: str
    needs: Need
    warmup_s: int
    nan_rule: str
    source: str
    windows_s: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """8 hex digits of all of it: two features of one digest are the same feature."""
        body = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:8]


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """16 hex digits of a layout, from the names of its features, in order, and their digests."""
    return hashlib.sha256(json.dumps(list(digests.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Layout:
    """An ordered set of features; column i of a vector is `specs[i]`."""

    specs: tuple[FeatureSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        seen: set[str] = set()
        twice = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
        if twice:
            raise ForeshockError(f"features named twice: {twice}")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(spec.name for spec in self.specs)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when a name, a formula, a window or the order changes."""
        return fingerprint_of({spec.name: spec.digest for spec in self.specs})

    @property
    def tier(self) -> str:
        """The dearest input that any feature needs: bars, tape or book. Derivatives, context,
        series and time ask for none of these."""
        needed = [_TIERS.index(spec.needs) for spec in self.specs if spec.needs in _TIERS]
        return _TIERS[max(needed, default=0)]

    def columns(self, names: Iterable[str]) -> tuple[int, ...]:
        """Where these features are. Raises ForeshockError that names the ones it does not have."""
        at = {spec.name: k for k, spec in enumerate(self.specs)}
        wanted = list(names)
        missing = [name for name in wanted if name not in at]
        if missing:
            raise ForeshockError(f"the layout {self.fingerprint} lacks {missing}")
        return tuple(at[name] for name in wanted)

    def only(self, names: Sequence[str]) -> Layout:
        """The layout of these features, in this order. Raises as `columns` does."""
        return Layout(tuple(self.specs[k] for k in self.columns(names)))

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[FeatureSpec]:
        return iter(self.specs)
