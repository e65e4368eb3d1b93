"""How Alembic runs here: within the process, over a connection and transaction that it is given."""

from __future__ import annotations

from alembic import context

from foreshock.stores.ledger_tables import METADATA


def run() -> None:
    """Take the steps that the command at hand asks for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        render_as_batch=True,  # SQLite changes a column by copying the table
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # only while Alembic executes this file, not on an import
    run()
