"""Where the deployments find what they need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from foreshock.features.settings import FeatureSettings
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings


@dataclass(frozen=True, slots=True)
class Wiring:
    """Plain values: they travel to every replica.

    redis_url      hot store
    ledger         SQLAlchemy address, or the path of a SQLite file
    registry_dir   models
    domain         what the rows are of: the champion of this domain is served
    symbols        configured pairs, so that one without a verdict is not_warm and not unknown
    features       which features the watchers compute
    gate           thresholds, costs and barriers
    model          an artifact directory to serve instead of the champion
    spill_dir      where signals wait while the ledger is away; None keeps them in memory
    prefix         before every key and stream of the hot store
    """

    redis_url: str
    ledger: str | Path
    registry_dir: Path
    domain: Domain
    symbols: tuple[str, ...] = ()
    features: FeatureSettings = field(default_factory=FeatureSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    model: Path | None = None
    spill_dir: Path | None = None
    prefix: str = ""
