"""Which models there are and which of them speak: a directory of artifacts and a file of aliases.

    ROOT/registry.json                 {name: {"versions": […], "aliases": {"champion": version}}}
    ROOT/NAME/VERSION/…                artifact directories, never changed once there

`Registry` is what the rest of the house knows; a server that keeps models can take its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from foreshock.errors import StoreError

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


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

    def point(self, name: str, alias: str, version: str) -> None:
        """Let `alias` mean `version` from now on. Raises StoreError on an unknown version."""
        ...

    def find(self, name: str, wanted: str = CHAMPION) -> Path | None:
        """The artifact directory of an alias or version; None where there is none."""
        ...


class DirectoryRegistry:
    """A registry in a directory, safe to use from several processes of one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._index = root / "registry.json"

    def names(self) -> list[str]:
        """Every model name, sorted."""
        return sorted(self._read())

    def versions(self, name: str) -> list[str]:
        """Versions in the order they were registered; empty for an unknown name."""
        return list(self._read().get(name, {}).get("versions", []))

    def aliases(self, name: str) -> dict[str, str]:
        """Versions by alias; empty for an unknown name."""
        return dict(self._read().get(name, {}).get("aliases", {}))

    def register(self, name: str, version: str, artifact: Path) -> Path:
        """Keep a copy of an artifact directory and return where. The same version again must hold
        the same bytes. Raises StoreError."""
        for word in (name, version):
            if not _NAME.fullmatch(word):
                raise StoreError(f"{word!r} cannot name a model or a version")
        if not artifact.is_dir():
            raise StoreError(f"{artifact} is no artifact directory")
        place = self._root / name / version
        with self._locked() as index:
            if place.exists():
                if _contents(place) != _contents(artifact):
                    raise StoreError(f"{name} {version} is registered already with other bytes")
            else:
                _copy(artifact, place)
            entry = index.setdefault(name, {"versions": [], "aliases": {}})
            if version not in entry["versions"]:
                entry["versions"].append(version)
        return place

    def point(self, name: str, alias: str, version: str) -> None:
        """Let `alias` mean `version` from now on. Raises StoreError on an unknown version."""
        with self._locked() as index:
            if version not in index.get(name, {}).get("versions", []):
                raise StoreError(f"{name} has no version {version}")
            index[name]["aliases"][alias] = version

    def find(self, name: str, wanted: str = CHAMPION) -> Path | None:
        """The artifact directory of an alias or version; None where there is none."""
        entry = self._read().get(name, {"versions": [], "aliases": {}})
        version = entry["aliases"].get(wanted, wanted)
        return self._root / name / version if version in entry["versions"] else None

    def _read(self) -> dict[str, Any]:
        try:
            index: dict[str, Any] = json.loads(self._index.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._index} cannot be read: {error}") from error
        return index

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The index, alone; written back, by a rename, unless the body raises."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            index = self._read()
            yield index
            temporary = self._index.with_suffix(".unfinished")
            temporary.write_text(json.dumps(index, sort_keys=True, indent=2) + "\n")
            temporary.replace(self._index)


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
