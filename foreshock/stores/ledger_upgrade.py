"""Bring a ledger's schema to the step that this version knows, whoever else tries the same.

The whole way is one transaction under a lock of the database's own (an advisory lock on PostgreSQL,
BEGIN IMMEDIATE on SQLite): of several processes that start together one upgrades, the others wait
and find it done. A step that fails leaves the ledger as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from foreshock.errors import StoreError
from foreshock.stores.migrations import HEAD, PLACE

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK_KEY: Final = 0x666F7265  # "fore"; any number, the same for all of us
_LOCK_WAIT_S: Final = 60.0


def revision_of(engine: Engine) -> str | None:
    """The step that a ledger stands at; None of one that is empty or older than the steps. Raises
    StoreError where it cannot be read."""
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except SQLAlchemyError as error:
        raise StoreError(f"the ledger cannot be opened: {error}") from error


def migrate(engine: Engine, to: str = HEAD) -> tuple[str | None, str]:
    """Bring the ledger to a step, up or down; (where it stood, where it stands). Raises StoreError
    where it is of a newer version than this, or a step fails, and then nothing was changed."""
    from alembic import command  # a second of imports, for the few starts that need it
    from alembic.util import CommandError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with _locked(engine) as connection:
            before = _revision(connection)
            if before is not None and before > HEAD:
                raise StoreError(
                    f"the ledger is at step {before}, this version knows up to {HEAD}: use the"
                    " version that wrote it"
                )
            if before != to:
                go = command.downgrade if before is not None and before > to else command.upgrade
                go(alembic_config(connection), to)
            return before, to
    except (SQLAlchemyError, CommandError) as error:
        raise StoreError(f"the ledger cannot be brought to step {to}: {error}") from error


def alembic_config(connection: Connection) -> Config:
    """What Alembic's commands take, over a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(PLACE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that only one process has at a time; commits at the end."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            yield connection
        return
    own = create_engine(engine.url, poolclass=NullPool, connect_args={"timeout": _LOCK_WAIT_S})
    # Left to itself the driver opens transactions late and ends them before each CREATE TABLE.
    event.listen(own, "connect", _without_its_own_transactions)
    event.listen(own, "begin", _begin_immediately)
    with own.begin() as connection:
        yield connection


def _without_its_own_transactions(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin_immediately(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
