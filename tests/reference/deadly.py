"""Recipes that go wrong where they are fitted: one raises, one takes its process with it."""

from __future__ import annotations

import os
import signal
from typing import Any

from foreshock.models.boosted import BoostedSettings

RAISES, KILLS, KILLS_ONCE = 7, 31, 23


class Deadly(BoostedSettings):
    """Settings of trees whose number of leaves decides."""

    mark: str = ""  # a file that says that KILLS_ONCE has struck

    def lightgbm(self) -> dict[str, Any]:
        """What is asked for at each fit."""
        if self.leaves == RAISES:
            raise RuntimeError("seven leaves are too few")
        if self.leaves == KILLS or (self.leaves == KILLS_ONCE and not os.path.exists(self.mark)):
            with open(self.mark, "w", encoding="utf-8"):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().lightgbm()
