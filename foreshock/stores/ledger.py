"""The ledger: what was said and by which model, in SQL, each thing once.

SQLite in write-ahead mode by default, so that readers and the one writer do not wait for each
other. Tables are created as they are described here; migrations come when the first one changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

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
    create_engine,
    event,
    select,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError

from foreshock.errors import StoreError

_BIG: Final = BigInteger().with_variant(Integer, "sqlite")
_LINES: Final = 500  # a statement; SQLite takes 32,766 parameters, PostgreSQL 65,535
METADATA: Final = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)


def _said(name: str) -> Table:
    """A table of verdicts, under their stable ids."""
    return Table(
        name,
        METADATA,
        Column("id", String(32), primary_key=True),
        Column("symbol", String(32), nullable=False),
        Column("boundary_ns", _BIG, nullable=False),
        Column("horizon_s", Integer, nullable=False),
        Column("reason", String(32), nullable=False),
        Column("probability", Float),
        Column("utility_bps", Float),
        Column("model_version", String(128)),
        Column("body", JSON, nullable=False),
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
    Column("known_ns", _BIG, nullable=False),
    Column("card", JSON, nullable=False),
)
AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("at_ns", _BIG, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(128), nullable=False),
    Column("detail", JSON, nullable=False),
)


class Ledger:
    """The ledger at a SQLAlchemy address, or in a SQLite file. Safe to use from several threads.
    Every method raises StoreError where the database cannot be reached or refuses."""

    def __init__(self, where: str | Path) -> None:
        """`where` is a file's path, made if need be, or an address such as postgresql+psycopg://…"""
        if isinstance(where, Path):
            where.parent.mkdir(parents=True, exist_ok=True)
            where = f"sqlite:///{where}"
        self._engine = create_engine(where)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_pragmas)
        try:
            METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            raise StoreError(f"the ledger cannot be opened: {error}") from error

    def record(
        self,
        verdicts: Iterable[Mapping[str, Any]],
        *,
        predictions: bool = False,
    ) -> int:
        """Keep the signals among `Verdict.as_dict()`s, each id once; how many were new. With
        `predictions` every verdict that has a probability is kept too."""
        given = [verdict for verdict in verdicts if verdict["reason"] != "duplicate"]
        new = self._insert(SIGNALS, [_line(v) for v in given if v["signal"]], "id")
        if predictions:
            scored = [_line(v) for v in given if v["probability"] is not None]
            self._insert(PREDICTIONS, scored, "id")
        return new

    def signals(self, symbol: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest signals' verdicts, newest first."""
        return self._newest(SIGNALS, symbol, limit)

    def predictions(self, symbol: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest scored verdicts that were kept, newest first."""
        return self._newest(PREDICTIONS, symbol, limit)

    def record_model(self, card: Mapping[str, Any], known_ns: int) -> bool:
        """Keep a model's card (`ModelCard.model_dump(mode="json")`); False where its version was
        known already: a version is never rewritten."""
        line = {
            "version": card["version"],
            "name": card["name"],
            "promoted": card["promoted"],
            "known_ns": known_ns,
            "card": _finite(card),
        }
        return self._insert(MODEL_VERSIONS, [line], "version") == 1

    def models(self) -> list[dict[str, Any]]:
        """Cards of all model versions, newest first."""
        query = select(MODEL_VERSIONS.c.card).order_by(
            MODEL_VERSIONS.c.known_ns.desc(), MODEL_VERSIONS.c.version.desc()
        )
        return [row[0] for row in self._ask(query)]

    def audit(self, at_ns: int, actor: str, action: str, detail: Mapping[str, Any]) -> None:
        """Note that `actor` did `action`; nothing is ever taken from this table."""
        line = {"at_ns": at_ns, "actor": actor, "action": action, "detail": _finite(detail)}
        self._insert(AUDIT, [line], None)

    def audit_trail(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        return [dict(row._mapping) for row in self._ask(query)]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _insert(self, table: Table, lines: list[dict[str, Any]], key: str | None) -> int:
        """Insert what is new by its key; how many lines were."""
        if not lines:
            return 0
        insert = postgresql_insert if self._engine.dialect.name == "postgresql" else sqlite_insert
        new = 0
        try:
            with self._engine.begin() as connection:
                for first in range(0, len(lines), _LINES):
                    statement = insert(table).values(lines[first : first + _LINES])
                    if key is not None:
                        statement = statement.on_conflict_do_nothing(index_elements=[key])
                    # Counted by what comes back: psycopg knows no rowcount of several VALUES.
                    first_column = next(iter(table.c))
                    new += len(connection.execute(statement.returning(first_column)).all())
            return new
        except SQLAlchemyError as error:
            raise StoreError(f"the ledger refused {table.name}: {error}") from error

    def _newest(self, table: Table, symbol: str | None, limit: int) -> list[dict[str, Any]]:
        query = select(table.c.body).order_by(table.c.boundary_ns.desc(), table.c.id).limit(limit)
        if symbol is not None:
            query = query.where(table.c.symbol == symbol)
        return [row[0] for row in self._ask(query)]

    def _ask(self, query: Any) -> Sequence[Any]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as error:
            raise StoreError(f"the ledger cannot be read: {error}") from error


def _line(verdict: Mapping[str, Any]) -> dict[str, Any]:
    columns = ("id", "symbol", "boundary_ns", "horizon_s", "reason", "probability", "utility_bps")
    return {
        **{name: verdict[name] for name in columns},
        "model_version": verdict["model_version"],
        "body": _finite(verdict),
    }


def _finite(value: Any) -> Any:
    """The same with null in the place of NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _sqlite_pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()
