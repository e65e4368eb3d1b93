"""The ledger's schema, step by step (Alembic): `versions` holds one file a step.

A new step: change `ledger_tables`, run `python -m foreshock.stores.migrations "what changes"`, read
what it wrote, and make HEAD its number. Steps that were released are never edited.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HEAD: Final = "0002"  # the newest step, known here so that an up-to-date ledger needs no Alembic
PLACE: Final = Path(__file__).resolve().parent
