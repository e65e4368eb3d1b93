"""What the stores take in and give back: the cold one on files and on ClickHouse, the hot one.

Unlike the others this one measures wall-clock time, since servers work in processes of their own.
Parts are functions of `quick` that give (results by contestant, ratios); see each for what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks._stores_cold import cold
from benchmarks._stores_hot import hot
from benchmarks.common import Figures, arguments, finish

NAME: Final = "stores"
Part = Callable[[bool], tuple[dict[str, Figures], dict[str, float]]]
PARTS: Final[tuple[Part, ...]] = (cold, hot)


def main() -> None:
    """Run it."""
    given = arguments(__doc__)
    results: dict[str, Figures] = {}
    ratios: dict[str, float] = {}
    for part in PARTS:
        found, compared = part(given.quick)
        results |= found
        ratios |= compared
    finish(NAME, given, results, ratios, "Stores, wall-clock")


if __name__ == "__main__":
    main()
