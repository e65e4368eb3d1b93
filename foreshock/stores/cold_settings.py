"""Settings of the cold store: where it is, what is kept and how long, what goes first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from foreshock.config import Section

TableName = Literal["rows", "trades", "bars", "metrics", "vectors", "labels"]
# What is given up first. Raw frames lie in recordings, the rest here; signals are in the ledger,
# which no budget touches.
Droppable = Literal["frames", "rows", "trades", "metrics", "vectors", "labels", "bars"]
_ORDER: Final = ("frames", "rows", "vectors", "trades", "metrics", "labels", "bars")


class KeepDays(Section):
    """How many days of each are kept; empty keeps them for ever."""

    frames: int | None = Field(
        default=7, ge=1, description="Days that recordings keep the venue's raw frames."
    )
    rows: int | None = Field(
        default=30, ge=1, description="Days of rows, word for word as the engine was fed."
    )
    trades: int | None = Field(default=None, ge=1, description="Days of the tape.")
    bars: int | None = Field(default=None, ge=1, description="Days of closed bars.")
    metrics: int | None = Field(
        default=None, ge=1, description="Days of open interest, ratios, marks and liquidations."
    )
    vectors: int | None = Field(default=90, ge=1, description="Days of feature vectors.")
    labels: int | None = Field(default=None, ge=1, description="Days of labels.")

    def days(self, table: str) -> int | None:
        """How many days of `table` are kept."""
        found: int | None = getattr(self, table)
        return found


class Stores(Section):
    """The cold store and what keeps it within its bounds."""

    cold: SecretStr = Field(
        default=SecretStr("parquet"),
        description="Where rows, trades, bars, metrics, vectors and labels last: parquet (files "
        "below paths.var_dir, read by DuckDB), clickhouse://user:password@host:port/database, or "
        "off. A server that is down is waited for: batches spill to local files.",
    )
    tables: tuple[TableName, ...] = Field(
        default=("rows", "trades", "bars", "metrics", "vectors", "labels"),
        description="Which tables are written. Rows are most of it; trades, bars and metrics are "
        "drawn from them.",
    )
    hold_rows: int = Field(
        default=200_000,
        ge=1,
        description="A recorder hands over a batch when it holds this many rows. Larger ones make "
        "fewer files; what is held when it dies is in the recording still.",
    )
    hold_s: float = Field(
        default=30.0,
        gt=0,
        description="A recorder hands over a batch at the latest when its first row is so old.",
    )
    spill_bytes: int = Field(
        default=8 << 30,
        ge=1 << 20,
        description="How much the local disk may hold for a store that is down. Beyond it the "
        "oldest batches go, in the order of drop_first, and are counted.",
    )
    keep_days: KeepDays = Field(
        default_factory=KeepDays, description="How long each table is kept."
    )
    disk_budget_bytes: int | None = Field(
        default=None,
        ge=1 << 20,
        description="What cold store and raw frames together may take. Beyond it the oldest days "
        "go, table by table in the order of drop_first. Empty means no budget.",
    )
    drop_first: tuple[Droppable, ...] = Field(
        default=_ORDER,
        description="What gives way first when the budget is reached, and last. What is not named "
        "never does; signals are in the ledger and are never dropped.",
    )
    memory_limit: str = Field(
        default="1GB",
        pattern=r"^\d+(\.\d+)?(MB|GB)$",
        description="What a compaction or a query may hold in memory before it goes to disk.",
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.drop_first)) != len(self.drop_first):
            raise ValueError(f"drop_first names something twice: {', '.join(self.drop_first)}")
        return self

    def where(self) -> str:
        """The address of the cold store, in clear."""
        return self.cold.get_secret_value()


def cold_directory(var_dir: Path) -> Path:
    """Where the Parquet files of the cold store lie."""
    return var_dir / "cold"


@dataclass(frozen=True, slots=True)
class ColdPlan:
    """What a recorder in another process must know to keep the cold store."""

    settings: Stores
    var_dir: Path
