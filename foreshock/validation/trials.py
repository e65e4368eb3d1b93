"""What was tried, and how often it counts: the best of many looks good by luck.

A *trial* is one recipe, judged over one evaluation window for one alias. It counts once however
often it was run: the same recipe on the same data over the same window is one trial. A scheduled
refit of a *frozen* recipe chooses nothing and counts once for all windows. Trials whose windows
meet the one that is judged count; how many independent ones they amount to, their returns tell
(`deflate.effective_trials`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock.validation.deflate import effective_trials

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of the ledger.

    alias       the registry's name of what it was tried for
    window_ns   begin and end of what it was judged on
    recipe      digest of the recipe (`recipe_digest`)
    data        fingerprint of the dataset
    frozen      a scheduled refit: the recipe was not chosen again
    returns_bps by horizon in seconds, by period of the window, concatenated over folds; empty where
                a fold was refused or the trial given up early
    """

    alias: str
    window_ns: tuple[int, int]
    recipe: str
    data: str
    frozen: bool
    returns_bps: Mapping[int, tuple[float, ...]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same trial as another."""
        whole = (self.alias, self.recipe)
        return whole if self.frozen else (*whole, self.data, self.window_ns)


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """12 hex digits of a recipe's fields; the number of threads changes no recipe."""
    body = {name: value for name, value in recipe.items() if name != "threads"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def counted(trials: Iterable[Trial], alias: str, window_ns: tuple[int, int]) -> list[Trial]:
    """The trials of `alias` that count for a judgement on `window_ns`, each once, the latest of
    several lines, in the order of the first."""
    begin, end = window_ns
    found: dict[tuple[Any, ...], Trial] = {}
    for trial in trials:
        if trial.alias == alias and trial.window_ns[0] < end and begin < trial.window_ns[1]:
            found[trial.key] = trial
    # A frozen recipe is its own earlier, searched trial once more.
    searched = {(t.alias, t.recipe) for t in found.values() if not t.frozen}
    return [t for t in found.values() if not t.frozen or t.key not in searched]


def effective(trials: Sequence[Trial], horizon_s: int) -> float:
    """How many independent trials `trials` amount to at one horizon, at least 1.

    Those with returns over the same window and periods are compared with each other; the counts of
    several windows add up, which errs on the strict side. A trial without returns (given up early)
    counts like the mean of the others of its window, or as one."""
    groups: dict[tuple[tuple[int, int], str, int], list[Trial]] = {}
    silent: dict[tuple[tuple[int, int], str], int] = {}
    for trial in trials:
        place = (trial.window_ns, trial.data)
        returns = trial.returns_bps.get(horizon_s, ())
        if returns:
            groups.setdefault((*place, len(returns)), []).append(trial)
        else:
            silent[place] = silent.get(place, 0) + 1
    total = 0.0
    for (window, data, _), members in groups.items():
        rate = effective_trials(matrix(members, horizon_s)) / len(members)
        total += rate * (len(members) + silent.pop((window, data), 0))
    return max(1.0, total + sum(silent.values()))


def matrix(trials: Sequence[Trial], horizon_s: int) -> Floats:
    """Returns (T, n) of the trials that have as many as the first one that has any."""
    rows = [trial.returns_bps.get(horizon_s, ()) for trial in trials]
    length = next((len(row) for row in rows if row), 0)
    kept = [row for row in rows if row and len(row) == length]
    return np.array(kept, np.float64).T if kept else np.empty((0, 0))
