"""Write the next step from what differs between the tables and a fresh ledger at HEAD."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from foreshock.stores.ledger_upgrade import alembic_config, migrate
from foreshock.stores.migrations import HEAD

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        engine = create_engine(f"sqlite:///{Path(place) / 'ledger.sqlite'}")
        migrate(engine)
        with engine.connect() as connection:
            command.revision(
                alembic_config(connection),
                message=" ".join(sys.argv[1:]),
                autogenerate=True,
                rev_id=f"{int(HEAD) + 1:04d}",
            )
