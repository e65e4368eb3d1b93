"""Markets of the simulated exchange through the whole chain: frames, books, rows, features, labels,
sweep, judge. `benchmarks.null_market` prints them apart: one takes a minute, not a second.

Everything is as the demo has it (configs/demo.yaml: horizons, features, bill, periods of the
judge), but for the seed, the number of pairs and the hours. `edge` is the exchange's own: the share
of its surges that order flow announces. With 0 its prices are a martingale but for the noise of its
quotes, and then nobody pays fees here, so that there is little of a bill to hide behind.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks._null_markets import Make
from foreshock.costs.total import CostSettings
from foreshock.features.catalog import FeatureSet
from foreshock.models.dataset import TrainingSet
from foreshock.settings import Config, load
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.recordings import open_recording
from pipelines.backfill_history import backfill_simulation
from pipelines.build_features import build_dataset
from pipelines.training import TrainingSettings
from pipelines.tune_models import settings_of

SYMBOLS: Final = 10
SECONDS: Final = 7_200
FIRST_SEED: Final = 9_000  # neither the demo's nor its history's
TRIALS: Final = 2  # the demo's


@cache
def _demo() -> Config:
    """The demo's settings as they are in the repository, whatever is set around here."""
    return load({"mode": "demo"}, environment={}, dotenv=Path(os.devnull)).tree


def exchange_set(
    edge: float, seed: int, symbols: int = SYMBOLS, seconds: int = SECONDS
) -> TrainingSet:
    """The dataset of one market, made as the demo's first one is. Without an edge nobody pays a
    fee."""
    tree = _demo()
    changes = {"symbols": symbols, "seed": FIRST_SEED + seed, "edge": edge}
    simulation = SimulationSettings.model_validate({**tree.simulation.model_dump(), **changes})
    costs = tree.costs
    if edge == 0.0:
        free = {"taker_fee_bps": 0.0, "maker_fee_bps": 0.0}
        costs = CostSettings.model_validate({**costs.model_dump(), **free})
    labels = tree.label_settings().model_copy(update={"bill_version": costs.version})
    features = FeatureSet(tree.features).reduced(tree.training.features).settings
    with tempfile.TemporaryDirectory(prefix="null-exchange-") as place:
        history = Path(place) / "history"
        backfill_simulation(history, simulation, seconds, features)
        data = build_dataset([open_recording(history)], labels, costs, features=features)
    return data.with_features(tree.training.features)


def exchange_settings() -> TrainingSettings:
    """How the demo's first model is made and judged."""
    return settings_of(_demo())


EXCHANGES: Final[dict[str, Make]] = {
    "exchange, no edge": lambda seed: exchange_set(0.0, seed),
    "exchange, demo's edge": lambda seed: exchange_set(1.0, seed),
}
EXCHANGE_NULL: Final = "exchange, no edge"
