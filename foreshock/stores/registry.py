"""Which models there are and which of them speak: a directory, which is the truth.

    ROOT/registry.json                 {name: {"versions": […], "aliases": {"champion": version},
                                        "registered_ns": {version: n}, "history": […], "told": n}}
    ROOT/NAME/VERSION/…                artifact directories, never changed once there
    ROOT/runs/RUN/…                    what every training left: run.json, report, plots, tables

Whoever scores reads this and nothing else. MLflow has the same for people and for other machines
(`registry_mlflow`): it is brought up to date from here, so that no training fails and no champion
waits where a server is away, and a process that is killed in between leaves nothing that the next
one does not finish (docs/decisions/0071-the-directory-is-the-truth.md).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from foreshock.errors import StoreError
from foreshock.stores.registry_history import KEPT, Change, before_last

if TYPE_CHECKING:
    from foreshock.stores.ledger import Ledger
    from foreshock.stores.registry_runs import Run

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
RUNS: Final = "runs"  # beside the models: none of them may be called so
_NAME = re.compile(r"\w[\w.+@:-]*")  # a venue has symbols in any script
_RACY_NS: Final = 100_000_000  # a file's stamp may be as coarse as the kernel's tick
_REST = 10  # times what a look at an MLflow that was away took is what passes before the next one
_LOG = logging.getLogger(__name__)


class Registry(Protocol):
    """Models by name and version, with movable aliases."""

    def names(self) -> list[str]:
        """Every model name, sorted."""
        ...

    def versions(self, name: str) -> list[str]:
        """Versions in the order they were registered; empty for an unknown name."""
        ...

    def aliases(self, name: str) -> dict[str, str]:
        """Versions by alias; empty for an unknown name."""
        ...

    def register(self, name: str, version: str, artifact: Path) -> Path:
        """Keep a copy of an artifact directory and return where. The same version again must hold
        the same bytes. Raises StoreError."""
        ...

    def point(
        self, name: str, alias: str, version: str, actor: str = "registry", reason: str = ""
    ) -> Change:
        """Let `alias` mean `version` from now on. Raises StoreError on an unknown version."""
        ...

    def find(self, name: str, wanted: str = CHAMPION) -> Path | None:
        """The artifact directory of an alias or version; None where there is none."""
        ...

    def promote(
        self, name: str, version: str, actor: str, reason: str = "", *, force: bool = False
    ) -> Change:
        """Let `version` be champion. Raises StoreError where the gate did not promote it, unless
        forced with a reason."""
        ...

    def rollback(self, name: str, actor: str, reason: str = "") -> Change:
        """Let the champion before this one be champion again. Raises StoreError without one."""
        ...

    def history(self, name: str) -> list[Change]:
        """Who let which alias mean what and why, oldest first."""
        ...

    def log_run(self, run: Run) -> str:
        """Keep the record of a training; its id. The same run again is the same record."""
        ...


class DirectoryRegistry:
    """A registry in a directory, safe to use from several processes of one machine, killed ones
    among them: every change is one rename.

    ledger         opens the ledger whose audit log is told of every change of champion; None tells
                   nobody: whoever opens the registry with one next tells what was not told
    tracking_uri   of the MLflow that is brought up to date after a run, and after a promotion or
                   rollback of what a run has made; None leaves that to whoever calls `record`
    """

    def __init__(
        self,
        root: Path,
        *,
        ledger: Callable[[], Ledger] | None = None,
        tracking_uri: str | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = root
        self._index = root / "registry.json"
        self._ledger, self._uri, self._clock = ledger, tracking_uri, clock
        self._cached: tuple[tuple[int, int, int], dict[str, Any]] | None = None
        self._rests_until_s = 0.0  # monotonic

    def names(self) -> list[str]:
        """Every model name, sorted."""
        return sorted(self._read())

    def versions(self, name: str) -> list[str]:
        """Versions in the order they were registered; empty for an unknown name."""
        return list(self._read().get(name, {}).get("versions", []))

    def aliases(self, name: str) -> dict[str, str]:
        """Versions by alias; empty for an unknown name."""
        return dict(self._read().get(name, {}).get("aliases", {}))

    def registered_ns(self, name: str, version: str) -> int | None:
        """When a version was registered; None where that is not known."""
        found: int | None = self._read().get(name, {}).get("registered_ns", {}).get(version)
        return found

    def history(self, name: str) -> list[Change]:
        """Who let which alias mean what and why, oldest first; of a long life the newest part."""
        return [Change(**each) for each in self._read().get(name, {}).get("history", [])]

    def find(self, name: str, wanted: str = CHAMPION) -> Path | None:
        """The artifact directory of an alias or version; None where there is none."""
        entry = self._read().get(name, {"versions": [], "aliases": {}})
        version = entry["aliases"].get(wanted, wanted)
        return self.root / name / version if version in entry["versions"] else None

    def register(self, name: str, version: str, artifact: Path) -> Path:
        """Keep a copy of an artifact directory and return where. The same version again must hold
        the same bytes. Raises StoreError."""
        for word in (name, version):
            if not _NAME.fullmatch(word) or word == RUNS:
                raise StoreError(f"{word!r} cannot name a model or a version")
        if not artifact.is_dir():
            raise StoreError(f"{artifact} is no artifact directory")
        place = self.root / name / version
        with self._locked() as index:
            if place.exists():
                if _contents(place) != _contents(artifact):
                    raise StoreError(f"{name} {version} is registered already with other bytes")
            else:
                _copy(artifact, place)
            entry = index.setdefault(name, {"versions": [], "aliases": {}})
            if version not in entry["versions"]:
                entry["versions"].append(version)
                entry.setdefault("registered_ns", {})[version] = self._clock()
        return place

    def point(
        self, name: str, alias: str, version: str, actor: str = "registry", reason: str = ""
    ) -> Change:
        """Let `alias` mean `version` from now on, whatever its card says; `promote` looks at the
        card. Raises StoreError on an unknown version."""
        return self._move(name, alias, version, actor, "point", reason)

    def promote(
        self, name: str, version: str, actor: str, reason: str = "", *, force: bool = False
    ) -> Change:
        """Let `version` be champion and tell the audit log. Raises StoreError on an unknown
        version, and on one that the gate did not promote unless it is forced with a reason."""
        card = self.card(name, version)
        verdict = card.get("verdict") or ("promoted" if card.get("promoted") else "refused")
        forced = verdict != "promoted"
        if forced and not force:
            raise StoreError(
                f"{name} {version} is no champion: the gate said {verdict}: "
                f"{card.get('reason') or 'no reason is on its card'}"
            )
        if forced and not reason.strip():
            raise StoreError(f"{name} {version} may only be forced with a reason")
        action = "force" if forced else "promote"
        change = self._move(name, CHAMPION, version, actor, action, reason, verdict)
        return self._told(name, change)

    def rollback(self, name: str, actor: str, reason: str = "") -> Change:
        """Let the champion before this one be champion again and tell the audit log; once more goes
        one further back. Raises StoreError where there was none before."""
        with self._locked() as index:
            entry = self._entry(index, name)
            history = [Change(**each) for each in entry.get("history", [])]
            version = before_last(history, CHAMPION)
            if version is None or version not in entry["versions"]:
                raise StoreError(f"{name} has no earlier champion to go back to")
            change = self._changed(entry, name, CHAMPION, version, actor, "rollback", reason, "")
        return self._told(name, change)

    def card(self, name: str, version: str) -> dict[str, Any]:
        """`card.json` of a version as it is written. Raises StoreError on an unknown version or a
        card that cannot be read."""
        if version not in self.versions(name):
            raise StoreError(f"{name} has no version {version}")
        path = self.root / name / version / "card.json"
        try:
            card: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return card

    def log_run(self, run: Run) -> str:
        """Keep the record of a training below ROOT/runs and bring MLflow up to date; its id. The
        same run again is the same record."""
        from foreshock.stores.registry_runs import write_run

        write_run(self.root / RUNS, run)
        self._up_to_date()
        return run.id

    def record(self, tracking_uri: str | None = None) -> dict[str, int]:
        """Bring MLflow up to date; what was new there. Raises StoreError where it is away."""
        from foreshock.stores.registry_mlflow import record

        return record(self, tracking_uri or self._uri or "")

    def tell_ledger(self, ledger: Ledger | None = None) -> int:
        """Tell the audit log what it was not told yet; how many changes that were. `ledger` is an
        open one, and stays open; without it that of the registry is opened. Raises StoreError where
        it is away."""
        from foreshock.stores.registry_history import tell

        opens = self._ledger if ledger is None else lambda: ledger
        if opens is None or not any(map(_untold, self._read().values())):
            return 0
        found = opens()
        try:
            with self._locked() as index:
                return sum(tell(name, entry, found) for name, entry in index.items())
        finally:
            if found is not ledger:
                found.close()

    def _move(
        self, name: str, alias: str, version: str, actor: str, action: str, reason: str,
        verdict: str = "",
    ) -> Change:  # fmt: skip
        with self._locked() as index:
            entry = self._entry(index, name)
            if version not in entry["versions"]:
                raise StoreError(f"{name} has no version {version}")
            return self._changed(entry, name, alias, version, actor, action, reason, verdict)

    def _changed(
        self, entry: dict[str, Any], name: str, alias: str, version: str, actor: str, action: str,
        reason: str, verdict: str,
    ) -> Change:  # fmt: skip
        """The entry, changed: its alias and one more line of its history."""
        lines = entry.setdefault("history", [])
        change = Change(
            number=lines[-1]["number"] + 1 if lines else 1,
            at_ns=self._clock(),
            actor=actor,
            action=action,
            alias=alias,
            before=entry["aliases"].get(alias),
            version=version,
            reason=reason,
            verdict=verdict,
        )
        if change.before == version and action == "point":
            return change
        entry["aliases"][alias] = version
        if action != "point" and entry["aliases"].get(CHALLENGER) == version:
            del entry["aliases"][CHALLENGER]  # nobody challenges itself
        lines.append(change.as_dict())
        del lines[:-KEPT]
        return change

    def _entry(self, index: dict[str, Any], name: str) -> dict[str, Any]:
        entry: dict[str, Any] = index.get(name, {"versions": [], "aliases": {}})
        return entry

    def _told(self, name: str, change: Change) -> Change:
        """The change is made; a ledger or an MLflow that is away is told of it later, and MLflow
        of a version whose run is not over when it is: there a version keeps the run it came with.
        """
        try:
            self.tell_ledger()
        except StoreError as error:
            _LOG.warning("the audit log is told later: %s", error)
        if self._uri is not None:
            from foreshock.stores.registry_runs import read_runs

            made = [name, change.version]
            if any(made in run["models"] for run in read_runs(self.root / RUNS).values()):
                self._up_to_date()
        return change

    def _up_to_date(self) -> None:
        """A server that takes connections and answers none costs its time limit: a training of
        hundreds of models asks it now and then, not twice a model."""
        began_s = time.monotonic()
        if self._uri is None or began_s < self._rests_until_s:
            return
        try:
            self.record()
        except StoreError as error:
            _LOG.warning("MLflow is told later: %s", error)
            now_s = time.monotonic()
            self._rests_until_s = now_s + _REST * (now_s - began_s)

    def _read(self) -> dict[str, Any]:
        """The index, not to be changed: parsed anew when the file is another than it was. Those who
        follow champions ask for every name every two seconds."""
        try:
            stat = self._index.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._cached is not None and self._cached[0] == stamp:
                return self._cached[1]
            index: dict[str, Any] = json.loads(self._index.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._index} cannot be read: {error}") from error
        # A file as young as its stamp is coarse may be changed again without another stamp.
        if time.time_ns() - stat.st_mtime_ns > _RACY_NS:
            self._cached = (stamp, index)
        return index

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The index, alone; written back, by a rename, unless the body raises."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._cached = None
            index = self._read()
            self._cached = None  # the body changes it
            yield index
            temporary = self._index.with_suffix(".unfinished")
            temporary.write_text(json.dumps(index, sort_keys=True, indent=2) + "\n")
            temporary.replace(self._index)


def open_registry(
    root: Path | str,
    tracking_uri: str | None = None,
    ledger: Callable[[], Ledger] | None = None,
) -> DirectoryRegistry:
    """The registry in `root` with its MLflow behind it.

    tracking_uri   of an MLflow server; empty or None is the environment's MLFLOW_TRACKING_URI, and
                   without that a SQLite file below `root`
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    return DirectoryRegistry(Path(root), ledger=ledger, tracking_uri=uri)


def _untold(entry: Mapping[str, Any]) -> bool:
    lines = entry.get("history", [])
    return bool(lines) and lines[-1]["number"] > entry.get("told", 0)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target.parent))
    try:
        for name, body in _contents(source).items():
            (temporary / name).write_bytes(body)
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
