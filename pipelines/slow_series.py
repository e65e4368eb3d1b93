"""The slow series that a history is made with."""

from __future__ import annotations

from foreshock.errors import ArchiveError
from foreshock.features.series import SLOTS
from foreshock.features.settings import FeatureSettings
from foreshock.stores.series_book import SeriesBook
from foreshock.stores.series_settings import SeriesSources


def book_of(sources: SeriesSources | None, features: FeatureSettings) -> SeriesBook | None:
    """All that `sources` have, or None where none is connected or no feature looks at them. Raises
    ArchiveError where one cannot be read: a history does not go without what it was told to have.
    """
    if sources is None or not sources.sources or "series" not in features.families:
        return None
    book = SeriesBook(sources.sources, features.series.names, SLOTS)
    book.look()
    if book.problems:
        raise ArchiveError("series", "; ".join(f"{at}: {why}" for at, why in book.problems.items()))
    return book
