"""From a sweep's cells to lines of the ledger of trials, and what the gate is told of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from foreshock.models.dataset import TrainingSet
from foreshock.stores.trials import TrialStore
from foreshock.validation.trials import Trial, counted, recipe_digest
from foreshock.validation.walk_forward import Fold
from pipelines.trial import Cell


@dataclass(frozen=True, slots=True)
class Tried:
    """All that was tried before a final model is judged.

    now      this sweep's trials, of every scope, those given up early too
    before   the ledger's, of earlier runs
    cells    of the chosen recipe, by fold and horizon
    """

    now: tuple[Trial, ...]
    cells: tuple[Cell, ...]
    before: tuple[Trial, ...] = ()

    def counted(self, alias: str, window_ns: tuple[int, int]) -> list[Trial]:
        """The trials that count for a judgement, each once."""
        return counted((*self.before, *self.now), alias, window_ns)


def window_of(seen: TrainingSet, first: Fold, data: TrainingSet, last: Fold) -> tuple[int, int]:
    """What trials and judge are evaluated on: from the sweep's first test part (of `seen`) to the
    end of the judge's (of `data`)."""
    return int(seen.t0_ns[first.test].min()), int(data.end_ns[last.test].max()) + 1


def trial_of(
    recipe: BaseModel, cells: Sequence[Cell], *, alias: str, window_ns: tuple[int, int], data: str,
    folds: int, frozen: bool = False, scope: str = "",
) -> Trial:  # fmt: skip
    """The ledger's line of one recipe. `scope` tells apart the same recipe for other symbols."""
    horizons = sorted({cell.horizon_s for cell in cells})
    returns: dict[int, tuple[float, ...]] = {}
    for horizon_s in horizons:
        mine = sorted((c for c in cells if c.horizon_s == horizon_s), key=lambda c: c.fold)
        whole = len(mine) == folds and all(cell.returns_bps for cell in mine)
        returns[horizon_s] = tuple(r for c in mine for r in c.returns_bps) if whole else ()
    body = recipe.model_dump(mode="json")
    digest = recipe_digest({**body, "scope": scope} if scope else body)
    return Trial(alias, window_ns, digest, data, frozen, returns)


def fold_returns(cells: Iterable[Cell], horizon_s: int) -> tuple[float, ...]:
    """Sum of each fold's returns, bps, in order of folds; NaN where the fold was refused."""
    mine = sorted((c for c in cells if c.horizon_s == horizon_s), key=lambda c: c.fold)
    return tuple(math.nan if cell.refused else sum(cell.returns_bps) for cell in mine)


def record(store: TrialStore, trials: Iterable[Trial]) -> int:
    """Append trials to the ledger; says how many. Raises StoreError."""
    return store.append(asdict(trial) for trial in trials)


def recorded(store: TrialStore, alias: str = "") -> list[Trial]:
    """The ledger's trials, oldest first, of one alias or all. Raises StoreError."""
    found = (_trial(line) for line in store)
    return [trial for trial in found if not alias or trial.alias == alias]


def _trial(line: Mapping[str, Any]) -> Trial:
    begin, end = line["window_ns"]
    returns = {int(h): tuple(values) for h, values in line["returns_bps"].items()}
    return Trial(line["alias"], (begin, end), line["recipe"], line["data"], line["frozen"], returns)
