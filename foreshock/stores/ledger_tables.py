"""The ledger's tables, the same on SQLite and PostgreSQL.

What changes here needs a migration beside it (`foreshock.stores.migrations`): a test compares the
two on both databases.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware in Python, `timestamptz` on PostgreSQL, UTC without its mark on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError on a moment without a zone, which could be any."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} names no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always aware, in UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


BIG: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite's key counts only as INTEGER
DOCUMENT: Final = JSON().with_variant(JSONB, "postgresql")
METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _said(name: str) -> Table:
    """A table of verdicts, under their stable ids."""
    return Table(
        name,
        METADATA,
        Column("id", String(32), primary_key=True),
        Column("symbol", String(32), nullable=False),
        Column("boundary_ns", BIG, nullable=False),
        Column("horizon_s", Integer, nullable=False),
        Column("reason", String(32), nullable=False),
        Column("probability", Float),
        Column("utility_bps", Float),
        Column("model_version", String(128)),
        Column("body", DOCUMENT, nullable=False),
        Column("recorded_at", UtcTime),  # when the ledger took it; unknown of the oldest
        Index(f"ix_{name}_symbol_boundary_ns", "symbol", "boundary_ns"),
    )


SIGNALS: Final = _said("signals")
PREDICTIONS: Final = _said("predictions")
MODEL_VERSIONS: Final = Table(
    "model_versions",
    METADATA,
    Column("version", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("known_ns", BIG, nullable=False),
    Column("card", DOCUMENT, nullable=False),
    Column("recorded_at", UtcTime),
)
ALERTS: Final = Table(
    "alerts",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("opened_ns", BIG, nullable=False),
    Column("closed_ns", BIG),
    Column("detail", DOCUMENT, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Index(None, "opened_ns"),
)
AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("at_ns", BIG, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(128), nullable=False),
    Column("detail", DOCUMENT, nullable=False),
)
