"""What the `models` verbs have in common: the registry as configured, and which model is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.ledger import open_ledger
from foreshock.errors import StoreError

if TYPE_CHECKING:
    from foreshock.models.base import ModelCard
    from foreshock.settings import Config
    from foreshock.stores.registry import DirectoryRegistry


def registry_of(config: Config) -> DirectoryRegistry:
    """The registry, with the ledger that it tells of promotions; MLflow is told when asked to."""
    from foreshock.stores.registry import DirectoryRegistry

    return DirectoryRegistry(
        config.paths.under("models"), ledger=lambda: open_ledger(config, upgrade=True)
    )


def find_models(models_dir: Path) -> list[dict[str, Any]]:
    """One object for each version in the registry, by name and in the order they were registered;
    `aliases` says which are champion and challenger. Raises StoreError or ModelError where the
    registry or a card in it cannot be read."""
    from foreshock.models.artifact import load_card
    from foreshock.stores.registry import DirectoryRegistry

    registry, found = DirectoryRegistry(models_dir), []
    for name in registry.names():
        aliases = registry.aliases(name)
        for version in registry.versions(name):
            path = registry.find(name, version)
            assert path is not None
            card = load_card(path)
            found.append(
                {
                    "name": name,
                    "version": card.version,
                    "aliases": sorted(alias for alias, at in aliases.items() if at == version),
                    "domain": card.domain.model_dump(mode="json"),
                    "kind": card.kind,
                    "scope": card.scope,
                    "horizons_s": list(card.horizons_s),
                    "approved": list(card.approved),
                    "promoted": card.promoted,
                    "verdict": card.decision,
                    "reason": card.reason,
                    "layout_fingerprint": card.layout_fingerprint,
                    "label_fingerprint": card.label_fingerprint,
                    "trials": card.trials,
                    "trained_to_ns": card.trained_to_ns or None,
                    "max_age_s": card.max_age_s or None,
                    "registered_ns": registry.registered_ns(name, version),
                    "path": str(path),
                }
            )
    return found


def resolve(registry: DirectoryRegistry, wanted: str) -> tuple[str, str]:
    """(name, version) of what a person calls a model: a version, its first letters or its digest, a
    name (its champion), or NAME=ALIAS or NAME=VERSION. Raises StoreError where that is none or
    several."""
    name, _, what = wanted.partition("=")
    names = registry.names()
    if name in names:
        version = registry.aliases(name).get(what or "champion", what)
        if version in registry.versions(name):
            return name, version
        raise StoreError(f"{name} has no {what or 'champion'}")
    found = [
        (each, version)
        for each in names
        for version in registry.versions(each)
        if not what and (version.startswith(wanted) or version.rpartition("+")[2] == wanted)
    ]
    exact = [each for each in found if each[1] == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        told = ", ".join(f"{each}={version}" for each, version in found[:5])
        raise StoreError(f"{wanted!r} is several models: {told}")
    raise StoreError(f"no model is called {wanted!r}; the registry knows {names or 'none'}")


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], before: str = ""
) -> list[tuple[str, Any, Any]]:
    """(dotted name, here, there) of everything that differs in two documents; None where one lacks
    it."""
    out: list[tuple[str, Any, Any]] = []
    for name in dict.fromkeys([*one, *other]):
        here, there = one.get(name), other.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            out += differences(here, there, f"{before}{name}.")
        elif here != there:
            out.append((f"{before}{name}", here, there))
    return out


def figures(card: ModelCard) -> dict[str, dict[str, float]]:
    """The measures that are single numbers, by horizon."""
    return {
        horizon: {
            name: float(value)
            for name, value in measures.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        for horizon, measures in card.metrics.items()
    }
