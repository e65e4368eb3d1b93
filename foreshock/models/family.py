"""Kinds of models behind one interface. A kind plugs in by existing: a module in `models.families`
with a `FAMILY`.

A *recipe* is a frozen settings object with a literal field `kind`; `fit_one` fits one horizon by it
and gives back what the exporter, the certificate and the calibration need, whatever made it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from foreshock.errors import DatasetError, ModelError
from foreshock.models import families as place
from foreshock.models.parts import Part

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]


class Fitted(Protocol):
    """One horizon, fitted; the trainer's view, not the model of record."""

    @property
    def part(self) -> Part:
        """What is exported."""
        ...

    @property
    def base_rate(self) -> float:
        """Share of surges it was trained on, not weighted."""
        ...

    @property
    def kind(self) -> str:
        """The family's name."""
        ...

    def raw_score(self, X: Rows) -> Floats:
        """The trainer's own scores (n,) of vectors (n, k); not probabilities."""
        ...

    def leaves(self, X: Rows) -> NDArray[np.int64] | None:
        """The trainer's own numbers of the leaves (n, T); None of what is no sum of trees."""
        ...


class Family(Protocol):
    """A kind of model."""

    @property
    def kind(self) -> str:
        """Its name in recipes."""
        ...

    @property
    def settings(self) -> type[BaseModel]:
        """The class of its recipes; every field has a default."""
        ...

    def fit(
        self,
        recipe: Any,
        X: Rows,
        label: NDArray[np.int8],
        weights: NDArray[np.float32] | None,
        feature_names: Sequence[str],
        binned: Any = None,
    ) -> Fitted:
        """Fit one horizon. Raises DatasetError on data that must not be trained on."""
        ...


class Families(Mapping[str, Family]):
    """Every family there is, by kind. The names are those of the modules, and a module is imported
    when its family is asked for: who fits LightGBM alone does not load the other libraries."""

    def __getitem__(self, kind: str) -> Family:
        if kind not in self:
            raise KeyError(kind)
        family: Family = import_module(f"{place.__name__}.{kind}").FAMILY
        return family

    def __contains__(self, kind: object) -> bool:
        return kind in _names()

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(found.name for found in pkgutil.iter_modules(place.__path__)))


FAMILIES: Final = Families()


def recipe_of(given: Mapping[str, Any]) -> BaseModel:
    """The recipe that a mapping with the key `kind` says ("boosted" without it). Raises ModelError
    on an unknown kind or setting."""
    kind = str(given.get("kind", "boosted"))
    if kind not in FAMILIES:
        raise ModelError(f"no kind of model is called {kind!r}; there are {sorted(FAMILIES)}")
    try:
        return FAMILIES[kind].settings.model_validate(dict(given))
    except ValidationError as error:
        raise ModelError(f"this is no recipe of kind {kind}: {error}") from error


def fit_one(
    recipe: BaseModel,
    X: Rows,
    label: NDArray[np.int8],
    weights: NDArray[np.float32] | None,
    feature_names: Sequence[str],
    binned: Any = None,
) -> Fitted:
    """Fit one horizon by a recipe.

    X         float32 (n, k), NaN where a feature was not warm
    label     int8 (n,) in {-1, 0, 1}; rows of -1 are left out
    weights   float32 (n,) or None
    binned    what the family can share between fits of the same rows
              (`foreshock.models.boosted.bin_rows`); changes no result

    Raises DatasetError, before anything is fitted, on data that must not be trained on.
    """
    kind = str(getattr(recipe, "kind", ""))
    if kind not in FAMILIES:
        raise DatasetError(f"no model is fitted by a {type(recipe).__name__}")
    return FAMILIES[kind].fit(recipe, X, label, weights, feature_names, binned)


def importance_of(fitted: Fitted, feature_names: Sequence[str]) -> dict[str, float]:
    """What a fitted model leans on: shares by feature that add up to 1, features without any left
    out. Gains of splits for trees, sizes of weights for a sum; empty where it tells none."""
    told = getattr(fitted, "importance", None)
    sizes: Mapping[str, float] = told(feature_names) if told is not None else {}
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items() if size > 0.0} if total > 0 else {}
