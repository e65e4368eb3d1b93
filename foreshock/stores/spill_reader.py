"""What waits in spills, read from outside: for a door or a verb in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foreshock.stores.files import finished


def waiting(directory: Path) -> dict[str, Any]:
    """Batches and bytes below `directory` that no store has taken yet, and when the oldest of them
    was put there (UTC seconds, None where nothing waits)."""
    files = [path for path in finished(directory, "**/*~*.parquet") if "refused" not in path.parts]
    sizes, stamps = [], []
    for path in files:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue  # delivered meanwhile
        sizes.append(found.st_size)
        stamps.append(found.st_mtime)
    return {"batches": len(sizes), "bytes": sum(sizes), "since_s": min(stamps, default=None)}
