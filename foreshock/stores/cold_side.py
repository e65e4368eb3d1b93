"""What a recorder does for the cold store: one spill before it, and a writer a recording."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from foreshock.errors import RowError, StoreError
from foreshock.market.instruments import Instrument
from foreshock.market.rows import Rows
from foreshock.stores.cold import open_cold
from foreshock.stores.cold_settings import ColdPlan, cold_directory
from foreshock.stores.cold_writer import ColdWriter
from foreshock.stores.files import whole_file
from foreshock.stores.spill import OK, Spill

log = logging.getLogger(__name__)

_SHARD: Final = "shard"
_SPILLS: Final = 64  # processes of one var_dir that may spill at the same time
_SETTLE_S: Final = 3.0


def shard_of(directory: Path) -> str:
    """What a recording is called as a shard of the cold store. It is written beside the recording
    when first asked for, so that whoever goes on with it or loads it says the same, and another
    recording in a directory of that name does not. Raises StoreError where it cannot be written."""
    path = directory / _SHARD
    if not path.exists():
        name = "/".join(directory.resolve().parts[-3:])
        with whole_file(path) as temporary:
            temporary.write_text(f"{name}@{secrets.token_hex(4)}")
    return path.read_text()


class ColdSide:
    """The cold store as `plan` has it. Nothing here fails a recording: what goes wrong is
    logged, counted and told by `status`."""

    def __init__(self, plan: ColdPlan) -> None:
        """Raises ConfigError on an address that is none; nothing is connected to yet."""
        settings, var_dir = plan.settings, plan.var_dir
        self._settings = settings
        self._store = open_cold(settings.where(), cold_directory(var_dir), settings.memory_limit)
        self._spill: Spill | None = None
        if self._store is not None:
            self._spill = self._free_spill(var_dir / "spill").start()
        self._writers: dict[str, ColdWriter] = {}
        self._failures = 0
        self._problem = ""

    def _free_spill(self, directory: Path) -> Spill:
        assert self._store is not None
        for k in range(_SPILLS):
            try:
                return Spill(
                    self._store,
                    directory / f"cold-{k}",
                    disk_bytes=self._settings.spill_bytes,
                    drop_order=self._settings.drop_first,
                )
            except StoreError as error:
                log.info("%s", error)
        raise StoreError(f"{_SPILLS} processes spill below {directory}")

    def open(self, directory: str, instruments: Sequence[Instrument]) -> None:
        """A recording begins, or goes on."""
        if self._spill is not None:
            self._writers[directory] = ColdWriter(
                self._spill,
                instruments,
                shard_of(Path(directory)),
                tables=self._settings.tables,
                hold_rows=self._settings.hold_rows,
                hold_s=self._settings.hold_s,
            )

    def write(
        self,
        directory: str,
        rows: Rows,
        boundaries: Sequence[Any],
        names: Sequence[str],
        fingerprint: str,
    ) -> None:
        """A batch of a recording; `names` and `fingerprint` of its features."""
        writer = self._writers.get(directory)
        if writer is None:
            return
        try:
            writer.write_boundaries(boundaries, names, fingerprint)
            writer.write(rows)
        except (StoreError, RowError) as error:
            self._fail(error)

    def close(self, directory: str) -> None:
        """A recording is whole: what is held goes to the store, or waits on disk for it."""
        writer = self._writers.pop(directory, None)
        if writer is None or self._spill is None:
            return
        try:
            writer.flush()
            self.settle()
        except StoreError as error:
            self._fail(error)

    def settle(self) -> None:
        """Wait a moment for what is on its way; the rest is on disk then."""
        if self._spill is not None:
            self._spill.settle(_SETTLE_S)

    def end(self) -> None:
        """Stop delivering and let go of the store; what waits is on disk for the next life."""
        if self._spill is not None and self._store is not None:
            self._spill.close()
            self._store.close()

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._problem = str(error)
        log.error("cold store: %s", error)

    def status(self) -> dict[str, Any]:
        """JSON-ready: `Spill.status`, and what failed on the way to it. `state` is off without a
        store."""
        if self._spill is None:
            return {"state": "off"}
        said = self._spill.status()
        if self._failures:
            said |= {"problem": said["problem"] or self._problem}
        return {**said, "failures": self._failures, "healthy": said["state"] == OK}
