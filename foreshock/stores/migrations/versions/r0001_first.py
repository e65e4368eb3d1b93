"""The tables as version 0.1.0 made them without migrations.

Each is made only where it is missing, so that a ledger of that version is taken over as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """signals, predictions, model_versions, audit."""
    for name in ("signals", "predictions"):
        op.create_table(
            name,
            sa.Column("id", sa.String(32), nullable=False),
            sa.Column("symbol", sa.String(32), nullable=False),
            sa.Column("boundary_ns", _BIG, nullable=False),
            sa.Column("horizon_s", sa.Integer, nullable=False),
            sa.Column("reason", sa.String(32), nullable=False),
            sa.Column("probability", sa.Float),
            sa.Column("utility_bps", sa.Float),
            sa.Column("model_version", sa.String(128)),
            sa.Column("body", sa.JSON, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            if_not_exists=True,
        )
        op.create_index(
            f"ix_{name}_symbol_boundary_ns", name, ["symbol", "boundary_ns"], if_not_exists=True
        )
    op.create_table(
        "model_versions",
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("promoted", sa.Boolean, nullable=False),
        sa.Column("known_ns", _BIG, nullable=False),
        sa.Column("card", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_model_versions"),
        if_not_exists=True,
    )
    op.create_table(
        "audit",
        sa.Column("id", _BIG, nullable=False, autoincrement=True),
        sa.Column("at_ns", _BIG, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(128), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        if_not_exists=True,
    )


def downgrade() -> None:
    """An empty database; what was said is lost."""
    for name in ("audit", "model_versions", "predictions", "signals"):
        op.drop_table(name)
