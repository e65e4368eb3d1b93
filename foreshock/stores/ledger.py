"""The ledger: what was said and by which model, in SQL, each thing once.

SQLite in write-ahead mode by default, so that readers and the one writer do not wait for each
other. The tables are those of `ledger_tables`; whoever opens a ledger of an earlier version brings
it up to this one first.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, create_engine, event, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from foreshock.errors import StoreError
from foreshock.stores.ledger_tables import (
    ALERTS,
    AUDIT,
    METADATA,
    MODEL_VERSIONS,
    PREDICTIONS,
    SIGNALS,
)
from foreshock.stores.ledger_upgrade import migrate, revision_of
from foreshock.stores.migrations import HEAD

_CONNECT_S: Final = 5


class Ledger:
    """The ledger at a SQLAlchemy address, or in a SQLite file. Safe to use from several threads.
    Every method raises StoreError where the database cannot be reached or refuses."""

    def __init__(self, where: str | Path, *, upgrade: bool = True) -> None:
        """`where` is a file's path, made if need be, or an address such as postgresql+psycopg://…
        Without `upgrade` it is opened as it stands, to look at: see `status`."""
        if isinstance(where, Path):
            where.parent.mkdir(parents=True, exist_ok=True)
            where = f"sqlite:///{where}"
        sqlite = make_url(where).get_backend_name() == "sqlite"
        wait = {} if sqlite else {"connect_timeout": _CONNECT_S}
        # A connection is tried before it is used: the server may have been started anew.
        self._engine = create_engine(where, pool_pre_ping=not sqlite, connect_args=wait)
        if sqlite:
            event.listen(self._engine, "connect", _sqlite_pragmas)
        try:
            if upgrade and revision_of(self._engine) != HEAD:
                migrate(self._engine)
        except StoreError:
            self._engine.dispose()
            raise

    def migrate(self, to: str = HEAD) -> tuple[str | None, str]:
        """Bring the schema to a step, up or down; (where it stood, where it stands)."""
        return migrate(self._engine, to)

    def status(self) -> dict[str, Any]:
        """{address (without password), database, revision, head, current, rows: {table: n}}."""
        revision = revision_of(self._engine)
        rows = {}
        try:
            with self._engine.connect() as connection:
                for table in METADATA.sorted_tables:
                    if self._engine.dialect.has_table(connection, table.name):
                        count = select(func.count()).select_from(table)
                        rows[table.name] = int(connection.scalar(count) or 0)
        except SQLAlchemyError as error:
            raise StoreError(f"the ledger cannot be read: {error}") from error
        return {
            "address": self._engine.url.render_as_string(hide_password=True),
            "database": self._engine.dialect.name,
            "revision": revision,
            "head": HEAD,
            "current": revision == HEAD,
            "rows": rows,
        }

    def record(
        self,
        verdicts: Iterable[Mapping[str, Any]],
        *,
        predictions: bool = False,
    ) -> int:
        """Keep the signals among `Verdict.as_dict()`s, each id once; how many were new. With
        `predictions` every verdict that has a probability is kept too."""
        given, now = [v for v in verdicts if v["reason"] != "duplicate"], datetime.now(UTC)
        new = self._insert(SIGNALS, [_line(v, now) for v in given if v["signal"]], "id")
        if predictions:
            scored = [_line(v, now) for v in given if v["probability"] is not None]
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
            "recorded_at": datetime.now(UTC),
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

    def alert(
        self,
        kind: str,
        severity: str,
        opened_ns: int,
        detail: Mapping[str, Any],
        closed_ns: int | None = None,
    ) -> bool:
        """Keep an alert, once by kind and moment; False where it was known."""
        line = {
            "id": f"{kind}-{opened_ns}",
            "kind": kind,
            "severity": severity,
            "opened_ns": opened_ns,
            "closed_ns": closed_ns,
            "detail": _finite(detail),
            "recorded_at": datetime.now(UTC),
        }
        return self._insert(ALERTS, [line], "id") == 1

    def alerts(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest alerts, newest first."""
        query = select(ALERTS).order_by(ALERTS.c.opened_ns.desc()).limit(limit)
        return [dict(row._mapping) for row in self._ask(query)]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _insert(self, table: Table, lines: list[dict[str, Any]], key: str | None) -> int:
        """Insert what is new by its key; how many lines were."""
        if not lines:
            return 0
        insert = postgresql_insert if self._engine.dialect.name == "postgresql" else sqlite_insert
        statement = insert(table)
        if key is not None:
            statement = statement.on_conflict_do_nothing(index_elements=[key])
        # Counted by what comes back: psycopg knows no rowcount of several VALUES.
        counted = statement.returning(next(iter(table.c)))
        try:
            with self._engine.begin() as connection:
                return len(connection.execute(counted, lines).all())
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


def _line(verdict: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    columns = ("id", "symbol", "boundary_ns", "horizon_s", "reason", "probability", "utility_bps")
    return {
        **{name: verdict[name] for name in columns},
        "model_version": verdict["model_version"],
        "body": _finite(verdict),
        "recorded_at": now,
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
    cursor.execute("PRAGMA busy_timeout=5000")
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch the file to its write-ahead log. Where two processes switch it at once, SQLite tells
    one of them "locked" without waiting (each would wait for the other): that one asks again."""
    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
