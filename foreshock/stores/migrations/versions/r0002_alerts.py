"""Alerts; when the ledger took each thing; documents that PostgreSQL can search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from foreshock.stores.ledger_tables import BIG, DOCUMENT, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DATED = ("signals", "predictions", "model_versions")
_DOCUMENTS = {
    "signals": "body",
    "predictions": "body",
    "model_versions": "card",
    "audit": "detail",
}


def upgrade() -> None:
    """One step up."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("opened_ns", BIG, nullable=False),
        sa.Column("closed_ns", BIG),
        sa.Column("detail", DOCUMENT, nullable=False),
        sa.Column("recorded_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_opened_ns", "alerts", ["opened_ns"])
    for table in _DATED:
        op.add_column(table, sa.Column("recorded_at", UtcTime))
    _documents(JSONB, "jsonb")


def downgrade() -> None:
    """The way back."""
    _documents(sa.JSON, "json")
    for table in _DATED:
        with op.batch_alter_table(table) as batch:
            batch.drop_column("recorded_at")
    op.drop_table("alerts")


def _documents(wanted: type[sa.JSON], name: str) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in _DOCUMENTS.items():
        op.alter_column(table, column, type_=wanted(), postgresql_using=f"{column}::{name}")
