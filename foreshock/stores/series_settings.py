"""Settings of slow series: where their values come from."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field

from foreshock.config import Section


class SeriesSource(Section):
    """A column of a daily file that a series is read from."""

    series: str = Field(
        description="Which series it is, one of `features.series.names`. Two sources of one series "
        "tell of it in turn: the later known value of a day is a revision."
    )
    path: Path = Field(
        description="A CSV, gzip or not, with a column `date` (YYYY-MM-DD, UTC). A relative path "
        "is meant from the directory the command was started in. Replace it by renaming a whole "
        "file: half a number that is read while it is written is a value too."
    )
    column: str = Field(description="The column that has the values.")
    lag_s: int = Field(
        default=86_400,
        ge=0,
        description="How long after the end of a day its value becomes known, at the earliest. A "
        "file does not say: the default, one full day, is an assumption on the safe side.",
    )


class SeriesSources(Section):
    """What feeds the slow series. Empty: nothing is connected, and their features are NaN."""

    sources: tuple[SeriesSource, ...] = Field(
        default=(),
        description="Files that slow series are read from, each {series: fear_greed, path: …, "
        "column: fng, lag_s: 86400}. What no source is named for is not connected: its features "
        "are NaN and masked.",
    )
    look_every_s: float = Field(
        default=300.0,
        gt=0,
        description="How often, live, the files are looked at again. What is new in one became "
        "known when it was seen there, or after its lag, whichever is later.",
    )

    def below(self, home: Path) -> Self:
        """The same with absolute paths, relative ones meant from `home`: for processes that were
        started elsewhere."""
        there = tuple(s.model_copy(update={"path": home / s.path}) for s in self.sources)
        return self.model_copy(update={"sources": there})
