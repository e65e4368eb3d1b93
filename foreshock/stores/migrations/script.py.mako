"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from foreshock.stores.ledger_tables import BIG, DOCUMENT, UtcTime

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step up."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """The way back."""
    ${downgrades if downgrades else "pass"}
