"""`foreshock warm`: compile every kernel, so that nothing compiles while a market is watched."""

from __future__ import annotations

import importlib
import time

from rich.console import Console

from cluster.options import Json
from cluster.output import Answer, PartMissingError, answer


def warm(json: Json = False) -> None:
    """Compile every kernel into the cache; a second run only reads it."""

    def work() -> Answer:
        try:
            room = importlib.import_module("foreshock.replay.warm")
        except ModuleNotFoundError as error:
            raise PartMissingError(
                f"{error.name} is missing: the kernels cannot be warmed"
            ) from error
        from foreshock.market.jit import cache_root

        started = time.perf_counter()
        room.warm()
        seconds = time.perf_counter() - started
        place = cache_root()
        document = {"seconds": round(seconds, 3), "cache": str(place)}

        def show(console: Console) -> None:
            console.print(f"kernels are warm after {seconds:.1f} s, kept in {place}")

        return Answer(document, show)

    answer(work, json)
