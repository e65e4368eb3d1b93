"""Which settings there are: the tree of configuration, made of sections that are frozen and refuse
unknown keys. A section that belongs to a room of the library is that room's own class. Shells load
the tree once (`load`), hand each room its section and pass the fingerprint on; no room of the
library imports this file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from foreshock.config import (
    ENV_PREFIX,
    Layer,
    Loaded,
    Section,
    build,
    dotenv_values,
    environment_layer,
    flag_layer,
    yaml_layer,
)
from foreshock.costs.barrier import BarrierSettings
from foreshock.costs.total import CostSettings
from foreshock.errors import ConfigError
from foreshock.features.settings import FeatureSettings
from foreshock.labels.barriers import LabelSettings
from foreshock.market.selection import SymbolFilter
from foreshock.models.calibration import CalibrationSettings
from foreshock.models.outlook import OutlookSettings
from foreshock.models.retraining import RetrainingSettings
from foreshock.signals.gate import GateSettings
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.cold_settings import Stores
from foreshock.stores.history_settings import HistorySettings
from foreshock.stores.hot_layout import Form
from foreshock.stores.registry_settings import RegistrySettings
from foreshock.stores.series_settings import SeriesSources
from foreshock.validation.promotion import PromotionSettings
from foreshock.validation.rule import RuleSettings
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings

Mode = Literal["demo", "live", "replay"]
MODE_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "demo": ("demo.yaml",),
    "live": ("live.yaml",),
    "replay": ("replay.yaml",),
}
ROOT: Final = Path(__file__).resolve().parent.parent


class Paths(Section):
    """Where the application keeps its things."""

    var_dir: Path = Field(
        default=Path("var"),
        description="Directory of everything the application writes while it runs: stores, "
        "recordings, models, logs and sockets. A relative path is meant from the directory the "
        "command was started in.",
    )

    def under(self, *parts: str) -> Path:
        """An absolute path below var_dir; nothing is created."""
        return Path.cwd().joinpath(self.var_dir, *parts)


class Venue(Section):
    """Where market data comes from."""

    market: Literal["binance-spot", "binance-usdm"] = Field(
        default="binance-spot",
        description="Which market of the venue is watched. It decides how sequence ids of the book "
        "are checked, which fees apply and which models may speak.",
    )
    symbols: tuple[str, ...] = Field(
        default=("BTCUSDT", "ETHUSDT"),
        min_length=1,
        description="The pairs to watch, in the venue's spelling. They are shared out among the "
        "watchers, and any usual spelling is understood (BTC/USDT, BTC/USDT:USDT). In mode demo "
        "the local exchange's own list counts instead. With filters this list is not used.",
    )
    filters: tuple[SymbolFilter, ...] = Field(
        default=(),
        description="A chain that selects the pairs from all that the venue lists, for example "
        "{by: quote, assets: [USDT]}, {by: volume, least: 1.0e+6}, {by: age, least: 30}, "
        '{by: deny, pattern: ".*(UP|DOWN)USDT"}, {by: top, count: 200}. New listings that pass it '
        "are watched while running. Empty means that `symbols` are watched.",
    )
    fallbacks: tuple[Literal["bybit-linear", "okx-swap"], ...] = Field(
        default=(),
        description="Venues that are listened to while this one is down, tried in this order. They "
        "must list all the pairs. Their rows are marked and their vectors carry their own market, "
        "so that no model of this market speaks on them.",
    )
    follow_every_s: float = Field(
        default=60.0,
        gt=0,
        description="How often the venue's list is asked for listings, delistings, halts and "
        "changed tick sizes; one request serves all watchers.",
    )
    symbols_per_socket: int = Field(
        default=100,
        ge=1,
        description="At most so many pairs share a socket. Fewer mean that a cut breaks fewer "
        "and that more connects count against the venue's limit.",
    )
    ws_url: str | None = Field(
        default=None,
        description="Base address of the WebSocket streams. Empty means the market's public one; "
        "in mode demo the local exchange puts its own here.",
    )
    rest_url: str | None = Field(
        default=None,
        description="Base address of the REST endpoints that snapshots and instrument lists come "
        "from. Empty means the market's public one, or the local exchange in mode demo.",
    )
    stale_after_s: float = Field(
        default=5.0,
        gt=0,
        description="A book whose depth stream says nothing for this many seconds is STALE: no "
        "signal leaves it until rows come again. A pair that is slower by its own measured rate "
        "has longer, and each has four times as long until that is known.",
    )
    silent_after_s: float = Field(
        default=15.0,
        gt=0,
        description="A socket that is subscribed but brought no frame at all for this many seconds "
        "is cut and opened anew, since a venue may accept a subscription and deliver nothing.",
    )
    max_snapshots_per_s: float = Field(
        default=2.0,
        gt=0,
        description="How many depth snapshots all watchers together ask for in a second. The venue "
        "bans addresses that ask for hundreds at once, so that joins are staggered.",
    )


class Engine(Section):
    """The step that turns rows into vectors."""

    step_s: Literal[1] = Field(
        default=1,
        description="Distance of sampling boundaries in seconds. Windows are counted in it and it "
        "is part of the fingerprint of the features; the features at hand are made for 1.",
    )
    snapshot_every_s: float = Field(
        default=60.0,
        gt=0,
        description="How often a watcher records a snapshot of its engine. A replay may start at "
        "any of them; a watcher that takes the place of a dead one starts cold.",
    )


class Exchange(Section):
    """The local exchange of mode demo, which speaks the venue's protocol over real sockets."""

    host: str = Field(
        default="127.0.0.1",
        description="Address that the local exchange listens on. It is meant for this machine "
        "alone: it has no users and no secrets.",
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port that the local exchange listens on for WebSocket and REST alike; 0 takes "
        "a free one and says which.",
    )


class Training(Section):
    """How models are trained and swept."""

    history_s: int = Field(
        default=3600,
        ge=60,
        description="How many seconds of history a model is trained on, counted back from the "
        "newest row that is recorded.",
    )
    walk_forward: WalkForwardSettings = Field(
        default_factory=WalkForwardSettings,
        description="How time is cut into training, calibration and test parts.",
    )
    features: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Which features a model is trained on: names with * for any letters. What is "
        "computed and recorded is said in `features`; a model reads its own columns out of it.",
    )
    symbols: tuple[str, ...] = Field(
        default=(),
        description="Which of the dataset's pairs are trained on; none named are all of them.",
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of the recipe that the sweep starts from, `kind` among them (boosted, "
        "xgboosted, logistic …); the rest keep the kind's defaults. `search.space` must be of it.",
    )
    trials: int = Field(
        default=4,
        ge=1,
        description="How many settings the sweep tries in each scope. The card keeps the number of "
        "all: the best of many looks better than it is.",
    )
    calibration: CalibrationSettings = Field(
        default_factory=CalibrationSettings, description="How raw scores become probabilities."
    )
    rule: RuleSettings = Field(
        default_factory=RuleSettings, description="How a model's words are traded to judge it."
    )
    promotion: PromotionSettings = Field(
        default_factory=PromotionSettings, description="What a model must show before it speaks."
    )
    outlook: OutlookSettings = Field(
        default_factory=OutlookSettings,
        description="What a model says of the outcome's size beside the chance of a surge. It "
        "decides nothing, and whoever scores pays for it.",
    )
    certificate_rows: int = Field(
        default=1_000_000,
        ge=0,
        description="On so many rows at least the exported graph is compared with its trainer; "
        "fewer are quicker, and say less.",
    )
    plots: bool = Field(
        default=True,
        description="Whether the record of a training in the registry has pictures; drawing them "
        "takes some seconds a model.",
    )
    search: SearchSettings = Field(
        default_factory=SearchSettings, description="What is tried, and when it is given up."
    )
    max_concurrent: int = Field(
        default=0,
        ge=0,
        description="How many workers fit at the same time; 0 takes as many as there are cores. It "
        "changes no result.",
    )
    seed: int = Field(
        default=11,
        ge=0,
        description="Seed of the sweep. The same data, settings and seed give the same models, "
        "with any number of workers.",
    )


def _borrowed(section: type[BaseModel], name: str) -> Any:
    """A field of another section, with its default, limits and paragraph."""
    return copy(section.model_fields[name])


class Gate(Section):
    """When the gate lets a signal out. The rest of what a gate needs, bill and barriers, is said
    once in `costs` and `labels`: see `Config.gate_settings`."""

    probability_threshold: float | None = _borrowed(GateSettings, "probability_threshold")
    utility_threshold_bps: float = _borrowed(GateSettings, "utility_threshold_bps")
    cool_down_s: float = _borrowed(GateSettings, "cool_down_s")


class Serve(Section):
    """The HTTP doors and the deployments behind them."""

    host: str = Field(
        default="127.0.0.1",
        description="Address that the HTTP API listens on. The default is this machine alone; "
        "0.0.0.0 opens it to the network and wants a proxy with TLS before it.",
    )
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        description="Port of the HTTP API. Keep it outside 10002 to 19999, which Ray gives to its "
        "workers.",
    )
    min_replicas: int = Field(
        default=1,
        ge=1,
        description="How many replicas of the scorer run when nothing is asked of it.",
    )
    max_replicas: int = Field(
        default=2,
        ge=1,
        description="How many replicas of the scorer the autoscaler may start under load.",
    )
    api_cpus: float = Field(
        default=0.1,
        gt=0,
        description="Share of a core that the HTTP ingress reserves with Ray's scheduler. It is a "
        "reservation, not a limit.",
    )
    scorer_cpus: float = Field(
        default=0.1,
        gt=0,
        description="Share of a core that each replica of the scorer reserves. Sessions run on one "
        "thread, because with two the bits of a score depend on the batch.",
    )
    gate_cpus: float = Field(
        default=0.1,
        gt=0,
        description="Share of a core that the gate reserves. There is one gate, since cool-down "
        "and duplicates are decided in one place.",
    )
    cpu_budget: float = Field(
        default=0.4,
        gt=0,
        description="What all deployments together may reserve, the scorer at its most replicas. "
        "With the actors it must stay below 0.9 on two cores, so that a training job has room.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} < min_replicas {self.min_replicas}")
        asked = self.api_cpus + self.gate_cpus + self.max_replicas * self.scorer_cpus
        if asked > self.cpu_budget + 1e-9:
            raise ValueError(
                f"deployments ask for {asked:.2f} CPUs, more than cpu_budget {self.cpu_budget}"
            )
        return self


class Redis(Section):
    """The hot store."""

    url: SecretStr | None = Field(
        default=None,
        description="Address of a Redis server, redis://:password@host:port/0. Empty means that a "
        "real one of our own is started on this machine.",
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port for the Redis server that is started for you; 0 takes a free one. It "
        "listens on the loopback address alone.",
    )
    prefix: str = Field(
        default="",
        description="Stands before every key and stream. Two installations that share one server "
        "take two prefixes; without one the streams are called what the documentation calls them.",
    )
    stream_form: Form = Field(
        default="plain",
        description="How watchers publish trades and vectors: plain (an entry a trade, names and "
        "decimal numbers that any client reads), packed (an entry a micro-batch and symbol, for "
        "hundreds of busy pairs) or off.",
    )
    stream_length: int = Field(
        default=10_000,
        ge=100,
        description="About how many entries a stream of signals or trades keeps; packed streams "
        "keep a tenth as many, each of a whole micro-batch. Older ones are trimmed; the ledger and "
        "the cold store keep what must last.",
    )
    features_length: int = Field(
        default=600,
        ge=60,
        description="About how many vectors each stream of features keeps: at one a second the "
        "default is ten minutes. A vector takes about a kilobyte, on every symbol.",
    )
    publish_every_ms: float = Field(
        default=50.0,
        gt=0,
        description="How often a watcher's publisher looks for something to send. Longer means "
        "fewer and larger entries in the packed form, and later readers.",
    )
    backlog_trades: int = Field(
        default=200_000,
        ge=1_000,
        description="How many trades each watcher keeps for the streams while Redis is away, 80 "
        "bytes each. Beyond it the oldest are given up and counted; no recording loses them.",
    )


class Ledger(Section):
    """The store of what was said: signals, predictions, model versions."""

    url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy address of the database. Empty means a SQLite file below "
        "paths.var_dir, in write-ahead mode.",
    )
    predictions_every_s: int = Field(
        default=60,
        ge=0,
        description="Every so many seconds the probabilities of all symbols are kept, signals or "
        "not. 1 keeps all of them, 0 those of signals alone; the recording has them all anyway.",
    )


class Ray(Section):
    """The cluster that everything runs on."""

    address: str | None = Field(
        default=None,
        description="Address of a running cluster to join. Empty means that a local one is started "
        "and stopped with the command.",
    )
    num_cpus: int | None = Field(
        default=None,
        ge=1,
        description="How many cores a local cluster believes it has. Empty means all that the "
        "machine shows.",
    )
    dashboard_port: int = Field(
        default=8265,
        ge=1,
        le=65535,
        description="Port of Ray's dashboard, which is also where `ray job submit` sends its jobs.",
    )
    auth_mode: Literal["disabled", "token"] = Field(
        default="disabled",
        description="Ray's token authentication, always set outright: left to itself, a local "
        "start writes a token to the home directory, and a later start asks for it unannounced.",
    )
    namespace: str = Field(
        default="foreshock",
        description="Ray namespace that named actors live in. Two installations on one cluster "
        "take two names.",
    )


class Logs(Section):
    """What is said while things run."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important level that is written. Frames that are dropped are "
        "counted at any level and logged once per kind.",
    )
    style: Literal["console", "json"] = Field(
        default="console",
        description="Lines for people, or one JSON object a line for a collector. Both go to "
        "stderr.",
    )


class Config(Section):
    """The whole tree."""

    mode: Mode = Field(
        default="demo",
        description="What the system listens to: demo (a local exchange), live (the venue's public "
        "streams) or replay (a recorded session). It chooses the files that are read, so that a "
        "file cannot set it. No mode places orders with money.",
    )
    paths: Paths = Field(default_factory=Paths, description="Where things are kept.")
    venue: Venue = Field(default_factory=Venue, description="Where market data comes from.")
    engine: Engine = Field(default_factory=Engine, description="Rows to vectors.")
    exchange: Exchange = Field(default_factory=Exchange, description="The local exchange.")
    simulation: SimulationSettings = Field(
        default_factory=SimulationSettings, description="What the local exchange plays."
    )
    features: FeatureSettings = Field(
        default_factory=FeatureSettings, description="What vectors are made of."
    )
    costs: CostSettings = Field(default_factory=CostSettings, description="What a trade costs.")
    labels: LabelSettings = Field(default_factory=LabelSettings, description="What a surge is.")
    history: HistorySettings = Field(
        default_factory=HistorySettings, description="The past: archives and what fills them up."
    )
    series: SeriesSources = Field(
        default_factory=SeriesSources, description="Where slow series come from."
    )
    training: Training = Field(default_factory=Training, description="How models are made.")
    retraining: RetrainingSettings = Field(
        default_factory=RetrainingSettings, description="When models are made anew."
    )
    registry: RegistrySettings = Field(
        default_factory=RegistrySettings, description="The record of models."
    )
    gate: Gate = Field(default_factory=Gate, description="When a signal may leave.")
    serve: Serve = Field(default_factory=Serve, description="The HTTP doors.")
    redis: Redis = Field(default_factory=Redis, description="The hot store.")
    stores: Stores = Field(default_factory=Stores, description="What lasts: the cold store.")
    ledger: Ledger = Field(default_factory=Ledger, description="What was said.")
    ray: Ray = Field(default_factory=Ray, description="The cluster.")
    logs: Logs = Field(default_factory=Logs, description="What is said.")

    @model_validator(mode="after")
    def _names_series(self) -> Self:
        named = {source.series for source in self.series.sources}
        if unknown := sorted(named - set(self.features.series.names)):
            raise ValueError(f"series.sources: features.series.names lacks {unknown}")
        return self

    def label_settings(self) -> LabelSettings:
        """The surge definition under the bill of `costs`, whose version is part of it."""
        return self.labels.model_copy(update={"bill_version": self.costs.version})

    @property
    def ledger_place(self) -> str | Path:
        """Address of the ledger, or the SQLite file that it is by default."""
        url = self.ledger.url
        return self.paths.under("ledger.sqlite") if url is None else url.get_secret_value()

    def gate_settings(self) -> GateSettings:
        """The gate with the bill of `costs` and the very barriers that labels are made with."""
        barriers = {name: getattr(self.labels, name) for name in BarrierSettings.model_fields}
        return GateSettings(
            **self.gate.model_dump(), costs=self.costs, barriers=BarrierSettings(**barriers)
        )


def _choose_mode(layers: Sequence[Layer]) -> str:
    """The mode that the layers above the files name; the files are chosen by it."""
    chosen: Any = Config.model_fields["mode"].default
    for layer in layers:
        chosen = layer.values.get("mode", (chosen, ""))[0]
    if chosen not in MODE_FILES:
        raise ConfigError(f"mode {chosen!r} is none of {', '.join(MODE_FILES)}")
    return str(chosen)


def _file_layer(path: Path) -> Layer:
    layer = yaml_layer(Config, path)
    if "mode" in layer.values:
        raise ConfigError(
            f"{path}: a file cannot set mode, which chooses the files; use {ENV_PREFIX}MODE"
        )
    shown = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    return Layer({key: (value, shown) for key, (value, _) in layer.values.items()})


def load(
    overrides: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    configs_dir: Path = ROOT / "configs",
) -> Loaded[Config]:
    """Read every layer and return the tree with the place of each value.

    overrides    dotted settings from flags; they win over everything
    files        YAML files beyond the mode's own, read after them
    environment  default os.environ
    dotenv       default `.env` in the current directory

    Raises ConfigError on an unknown setting, a value that does not fit, or a file that is missing.
    """
    dotenv = Path(".env") if dotenv is None else dotenv
    above = [
        environment_layer(Config, dotenv_values(dotenv), str(dotenv)),
        environment_layer(Config, os.environ if environment is None else environment),
        flag_layer(Config, overrides or {}),
    ]
    own = [configs_dir / name for name in MODE_FILES[_choose_mode(above)]]
    below = [_file_layer(path) for path in [*own, *files]]
    return build(Config, [*below, *above])
