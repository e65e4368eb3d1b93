"""The first model of the demo, made by the pipelines that make any other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foreshock.errors import ModelError
from foreshock.models.base import Domain
from foreshock.models.dataset import TrainingSet
from foreshock.settings import Config
from foreshock.stores.registry import DirectoryRegistry
from foreshock.stores.trials import TrialStore

Say = Callable[[str], None]


def registry_of(config: Config) -> DirectoryRegistry:
    """Where models are kept."""
    return DirectoryRegistry(config.paths.under("models"))


def simulation_domain(config: Config) -> Domain:
    """What the demo's rows are of."""
    return Domain(source="simulation", market=config.simulation.market, tier="book")


def has_model(config: Config, domain: Domain) -> bool:
    """Whether a champion of the domain was made for these features and this surge definition."""
    from foreshock.features import catalog
    from foreshock.models.artifact import load_card
    from serve.scorer import champion_of

    path = champion_of(registry_of(config), domain)
    if path is None:
        return False
    card = load_card(path)
    try:
        card.columns(catalog.layout(config.features))
    except ModelError:
        return False
    return card.label_fingerprint == config.label_settings().fingerprint


def first_dataset(config: Config, say: Say) -> tuple[Path, TrainingSet]:
    """Record `training.history_s` of the exchange, build its dataset and keep it. Returns the
    directory and what is in it; what was recorded before is not made again."""
    from foreshock.features.catalog import FeatureSet
    from foreshock.stores.recordings import open_recording
    from pipelines.backfill_history import HISTORY_SEED, backfill_simulation
    from pipelines.build_features import build_dataset
    from pipelines.datasets import write_dataset

    seconds = config.training.history_s
    settings = config.simulation.model_copy(update={"seed": config.simulation.seed + HISTORY_SEED})
    name = f"simulation-{settings.market}-{settings.seed}-{seconds}s"
    history = config.paths.under("history", name)
    say(f"recording {seconds} s of {len(settings.symbols)} simulated pairs")
    if not (history / "complete").exists():
        backfill_simulation(history, settings, seconds)
        (history / "complete").touch()
    say("building features and labels")
    labels = config.label_settings()
    features = FeatureSet(config.features).reduced(config.training.features)
    recordings = [open_recording(history)]
    data = build_dataset(recordings, labels, config.costs, features=features.settings)
    made_of = f"{data.manifest['layout_fingerprint'][:8]}-{labels.fingerprint[:8]}"
    dataset = config.paths.under("datasets", f"{name}-{made_of}")
    if not dataset.exists():
        write_dataset(dataset, data)
    return dataset, data


def train_first_model(config: Config, say: Say) -> dict[str, Any]:
    """Train on `first_dataset`. Returns the report of `pipelines.tune_models.tune`; where there is
    nothing to learn it promotes nothing. Its trials count with those of all other trainings."""
    from pipelines.tune_models import base_of, settings_of, tune

    training, data = config.training, first_dataset(config, say)[1]
    say(f"training on {len(data)} rows, horizons {', '.join(map(str, config.labels.horizons_s))} s")
    with tempfile.TemporaryDirectory(prefix="foreshock-") as place:
        return tune(
            data.with_features(training.features),
            Path(place) / "artifact",
            settings=settings_of(config),
            base=base_of(training),
            trials=training.trials,
            seed=training.seed,
            use_ray=False,
            registry=registry_of(config),
            ledger=TrialStore(config.paths.under("trials.jsonl")),
            search=training.search,
        )
