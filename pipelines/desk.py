"""What is meant for each lane of a sweep, until the lane asks: an actor on Ray, kept apart so that
its process imports nothing dear."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any


class Desk:
    """A queue for each lane."""

    def __init__(self) -> None:
        self._for: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)

    async def put(self, lane: str, what: Any) -> None:
        """Leave something for a lane."""
        self._for[lane].put_nowait(what)

    async def next(self, lane: str) -> Any:
        """What came first for a lane; waits for it."""
        return await self._for[lane].get()
