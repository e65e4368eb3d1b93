"""Verdicts as the ledger takes them, and the ledger as version 0.1.0 made it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

_BIG = BigInteger().with_variant(Integer, "sqlite")
FIRST = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)
for _name in ("signals", "predictions"):
    Table(
        _name,
        FIRST,
        Column("id", String(32), primary_key=True),
        Column("symbol", String(32), nullable=False),
        Column("boundary_ns", _BIG, nullable=False),
        Column("horizon_s", Integer, nullable=False),
        Column("reason", String(32), nullable=False),
        Column("probability", Float),
        Column("utility_bps", Float),
        Column("model_version", String(128)),
        Column("body", JSON, nullable=False),
        Index(f"ix_{_name}_symbol_boundary_ns", "symbol", "boundary_ns"),
    )
Table(
    "model_versions",
    FIRST,
    Column("version", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("known_ns", _BIG, nullable=False),
    Column("card", JSON, nullable=False),
)
Table(
    "audit",
    FIRST,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("at_ns", _BIG, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(128), nullable=False),
    Column("detail", JSON, nullable=False),
)


def verdict(
    number: int, *, signal: bool = True, symbol: str = "AUSDT", **changes: Any
) -> dict[str, Any]:
    """A verdict as JSON says it; the number is in its id and its boundary."""
    return {
        "id": f"{number:032x}",
        "symbol": symbol,
        "boundary_ns": 1_700_000_000_000_000_000 + number,
        "horizon_s": 60,
        "reason": "signal" if signal else "below_utility",
        "signal": signal,
        "probability": 0.75,
        "utility_bps": 1.5,
        "model_version": "1.0.0+abc",
        "bill": {"total_bps": 12.5},
        **changes,
    }
