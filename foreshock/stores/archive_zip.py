"""The zips of the archive: is it the file that its checksum speaks of, and can it be read?"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from foreshock.errors import ArchiveError

_CHUNK: Final = 1 << 20
_LINE: Final = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")


def expected_sha256(text: str, name: str) -> str:
    """The digest that a CHECKSUM file (`<sha256>  <file name>`) gives for `name`. Raises
    ArchiveError where it is none, or speaks of another file."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[2].rsplit("/", 1)[-1] == name:
            return match[1].lower()
    raise ArchiveError("checksum", f"no checksum of {name} in {text[:100]!r}")


def verify(path: Path, sha256: str) -> None:
    """Raises ArchiveError where the file is not what `sha256` says; an answer that is a web page is
    called so."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        head = stream.read(512)
        digest.update(head)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() == sha256:
        return
    _check_is_zip(path, head)
    raise ArchiveError("checksum", f"{path.name} has SHA-256 {digest.hexdigest()}, not {sha256}")


@contextmanager
def opened_csv(path: Path) -> Iterator[IO[bytes]]:
    """The one CSV within a zip, as a stream. Raises ArchiveError on a file that is no zip, is cut
    short or altered, or does not hold exactly one CSV; also while it is read."""
    with path.open("rb") as stream:
        _check_is_zip(path, stream.read(512))
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1 or not members[0].filename.lower().endswith(".csv"):
                names = [info.filename for info in members]
                raise ArchiveError("members", f"{path.name} holds {names}, expected one CSV")
            with archive.open(members[0]) as member:
                yield member
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        text = str(error)
        cut = "not a zip file" in text or isinstance(error, EOFError)
        raise ArchiveError(
            "truncated" if cut else "corrupt", f"{path.name} cannot be unpacked: {text}"
        ) from error


def _check_is_zip(path: Path, head: bytes) -> None:
    if not head:
        raise ArchiveError("empty", f"{path.name} is empty")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return
    text = head.lstrip()[:200].lower()
    page = text.startswith((b"<!doctype", b"<html", b"<?xml"))
    what = "a web page" if page else f"{head[:16]!r}…"
    raise ArchiveError("not_a_zip", f"{path.name} is {what} and no zip")
