"""Boosting over data larger than one process: XGBoost's all-reduce among Ray actors.

Each actor reads its own Parquet files of a dataset (pipelines.datasets), rows outside of the asked
time left out on reading, so that no process ever holds the whole. What comes back is a fitted
horizon like any other: foreshock.models.xgboosted.XGBoosted, to be exported, calibrated, certified
and judged as those of one process are. The driver holds one file's summary at a time.

An actor that dies is started again, reads its files again, and all go on from the last checkpoint;
the trees are as many as asked. Sketches of the columns are merged from the actors', so the splits
are not those of one process, and differ with the number of actors.

**Pins.** xgboost-ray 0.1.19 works with xgboost 1.7.6 and 2.0.3; from 2.1 on its tracker fails with
`getaddrinfo() argument 1 must be string or None`. Its `get_tune_resources()` fails on Ray 2.60:
within Tune give a PlacementGroupFactory.

**What comes after it.** xgboost-ray is no longer developed; Ray Train's own trainers are its
successor, for XGBoost and for LightGBM. `_train` is the one place that would change:

    def loop(config):                                    # runs in every worker
        shard = ray.train.get_dataset_shard("train").materialize().to_pandas()
        matrix = xgboost.DMatrix(shard[columns], shard[label])
        report = ray.train.xgboost.RayTrainReportCallback(frequency=…)
        xgboost.train(config["params"], matrix, trees, callbacks=[report])

    result = ray.train.xgboost.XGBoostTrainer(           # or ray.train.lightgbm.LightGBMTrainer
        loop,
        scaling_config=ScalingConfig(num_workers=…),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=…)),
        datasets={"train": ray.data.read_parquet(files, columns=…)},
    ).fit()
    booster = RayTrainReportCallback.get_model(result.checkpoint)

It leaves the resuming to the loop: with `ray.train.get_checkpoint()` as `xgb_model` and the trees
that are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames, walk_tb
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xgboost
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.errors import DatasetError, ModelError
from foreshock.models import focal
from foreshock.models.xgboosted import XGBoosted, XGBoostedSettings
from pipelines.datasets import files_of, read_manifest


class DistributedSettings(BaseModel):
    """Who trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actors: int = Field(default=2, ge=1, description="Training actors, at most one per file.")
    cpus_per_actor: int = Field(default=1, ge=1, description="Cores, and threads, of an actor.")
    max_restarts: int = Field(
        default=3, ge=0, description="So many times dead actors are replaced before giving up."
    )
    checkpoint_trees: int = Field(
        default=10, ge=1, description="Trees between checkpoints: what a dead actor costs at most."
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a horizon that may be trained on: labels known, spans within [since, until)."""

    horizon_s: int
    since_ns: int
    until_ns: int

    @property
    def label(self) -> str:
        """The column of the labels."""
        return f"labels_{self.horizon_s}"

    @property
    def filters(self) -> list[tuple[str, str, int]]:
        """In pyarrow's words."""
        return [
            (self.label, ">=", 0),
            ("t0_ns", ">=", self.since_ns),
            (f"t1_ns_{self.horizon_s}", "<", self.until_ns),
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """What must be known of rows before they are trained on.

    weight      of others and of surges
    low, high   float64 (k,): least and largest value of each column; inf and −inf where all NaN
    """

    rows: int
    positives: int
    weight: tuple[float, float]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.rows + other.rows,
            self.positives + other.positives,
            (self.weight[0] + other.weight[0], self.weight[1] + other.weight[1]),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


def fit_distributed(
    directory: Path,
    horizon_s: int,
    recipe: XGBoostedSettings,
    settings: DistributedSettings,
    *,
    symbols: Iterable[str] | None = None,
    since_ns: int = 0,
    until_ns: int = 2**63 - 1,
    callbacks: Sequence[xgboost.callback.TrainingCallback] = (),
) -> XGBoosted:
    """Fit one horizon of the dataset in `directory` on Ray, which must be connected to.

    symbols             only these; all unless told
    since_ns, until_ns  rows at or after the one, of which the label's span ends before the other:
                        the training part, with whatever purging is wanted taken off by the caller
    callbacks           run in every actor

    Raises DatasetError, before anything is fitted, on data that must not be trained on, ModelError
    where more actors died than are replaced. Columns are those of the manifest, in order.
    """
    manifest = read_manifest(directory)["manifest"]
    if horizon_s not in manifest["horizons_s"]:
        raise DatasetError(f"{directory} has no horizon of {horizon_s} s")
    columns = [f"f_{name}" for name in manifest["feature_names"]]
    chosen = Chosen(horizon_s, since_ns, until_ns)
    found = _survey(files_of(directory, symbols), columns, chosen)
    files = [file for file, summary in found if summary.rows]
    if not files:
        raise DatasetError(f"horizon {horizon_s} s: no row in the time asked for")
    total = found[0][1]
    for _, summary in found[1:]:
        total = total + summary
    refuse(total, recipe, manifest["feature_names"], horizon_s)
    gamma, alpha = recipe.focus
    initial = focal.initial_score(np.array([0.0, 1.0]), np.array(total.weight), gamma, alpha)
    params = recipe.xgboost(initial, sum(total.weight) / total.rows)
    booster = _train(params, files, columns, chosen, recipe, settings, callbacks)
    if booster.num_boosted_rounds() != recipe.trees:
        raise ModelError(f"{booster.num_boosted_rounds()} trees came back of {recipe.trees}")
    return XGBoosted(booster, total.positives / total.rows)


def summarise(file: Path, columns: Sequence[str], chosen: Chosen) -> Summary:
    """One file's summary."""
    weighted = "weight" in pq.read_schema(file).names
    wanted = [*columns, chosen.label, *(["weight"] if weighted else [])]
    table = pq.read_table(file, columns=wanted, filters=chosen.filters, partitioning=None)
    label = table.column(chosen.label).to_numpy()
    weight = table.column("weight").to_numpy() if weighted else np.ones(len(label))
    if not (weight >= 0).all():
        raise DatasetError(f"{file}: weight is negative or NaN")
    positive = float(weight[label == 1].sum())
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    for i, column in enumerate(columns):
        ends = pc.min_max(pc.filter(table.column(column), pc.invert(pc.is_nan(table[column]))))
        if ends["min"].is_valid:
            low[i], high[i] = ends["min"].as_py(), ends["max"].as_py()
    sums = (float(weight.sum()) - positive, positive)
    return Summary(len(label), int((label == 1).sum()), sums, low, high)


def refuse(total: Summary, recipe: XGBoostedSettings, names: Sequence[str], horizon_s: int) -> None:
    """Raises DatasetError, with the reason, on rows that must not be trained on: what
    foreshock.models refuses of rows in memory."""
    rows, positives = total.rows, total.positives
    where = f"horizon {horizon_s} s"
    infinite = (total.low == -np.inf) & (total.high != -np.inf)
    infinite |= (total.high == np.inf) & (total.low != np.inf)
    if infinite.any():
        raise DatasetError(f"feature {names[int(np.argmax(infinite))]} is infinite")
    if rows < recipe.min_rows:
        raise DatasetError(f"{where}: too few rows, {rows} < {recipe.min_rows}")
    if positives in (0, rows):
        raise DatasetError(f"{where}: one class only, {positives} surges in {rows} rows")
    if min(positives, rows - positives) < recipe.min_positives:
        raise DatasetError(
            f"{where}: too few of one class, {positives} surges in {rows} rows, at least "
            f"{recipe.min_positives} of each are needed"
        )
    if (total.low >= total.high).all():
        raise DatasetError(f"{where}: every feature is constant")


def _survey(
    files: Sequence[Path], columns: Sequence[str], chosen: Chosen
) -> list[tuple[Path, Summary]]:
    """Each file with its summary, made where there are cores free."""
    import ray

    look = ray.remote(summarise)
    found = ray.get([look.remote(file, columns, chosen) for file in files])
    return list(zip(files, found, strict=True))


def _train(
    params: dict[str, Any],
    files: Sequence[Path],
    columns: Sequence[str],
    chosen: Chosen,
    recipe: XGBoostedSettings,
    settings: DistributedSettings,
    callbacks: Sequence[xgboost.callback.TrainingCallback],
) -> xgboost.Booster:
    from xgboost_ray import RayDMatrix, RayFileType, RayParams, train

    actors = min(settings.actors, len(files))
    weight = "weight" if "weight" in pq.read_schema(files[0]).names else None
    rows = RayDMatrix(
        [str(file) for file in files],
        label=chosen.label,
        weight=weight,
        columns=[*columns, chosen.label, *([weight] if weight else [])],
        filetype=RayFileType.PARQUET,
        distributed=True,
        num_actors=actors,
        filters=chosen.filters,
        partitioning=None,
    )
    given = {**params, "nthread": settings.cpus_per_actor}
    try:
        return train(
            given,
            rows,
            num_boost_round=recipe.trees,
            obj=recipe.own_loss(),
            callbacks=list(callbacks),
            verbose_eval=False,
            ray_params=RayParams(
                num_actors=actors,
                cpus_per_actor=settings.cpus_per_actor,
                gpus_per_actor=0,
                max_actor_restarts=settings.max_restarts,
                checkpoint_frequency=settings.checkpoint_trees,
                verbose=False,
            ),
        )
    except RuntimeError as error:
        words = f"the distributed training did not finish: {error} ({error.__cause__})"
        _let_go(error)
        raise ModelError(words) from None


def _let_go(error: BaseException) -> None:
    """Give back the cores that a training held which failed for good: xgboost-ray leaves its
    placement group to nobody, and the other actors to the exception's frames."""
    from ray.util import remove_placement_group

    for frame, _ in walk_tb(error.__traceback__):
        group = frame.f_locals.get("pg")
        if group is not None and frame.f_globals.get("__name__") == "xgboost_ray.main":
            remove_placement_group(group)
            break
    for each in (error, error.__cause__, error.__context__):
        clear_frames(each.__traceback__ if each else None)
