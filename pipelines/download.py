"""The wire of a download: one file of the public archive, asked politely, resumed where it broke.

What came of a file so far lies beside the series as `files/.part-…`; a later run, after whatever
ended this one, goes on from its last byte. The checksum is in the name, so that a file which the
venue replaced meanwhile starts afresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from foreshock.errors import ArchiveError
from foreshock.stores.archive_land import land
from foreshock.stores.archive_plan import ArchiveFile
from foreshock.stores.archive_zip import expected_sha256
from foreshock.stores.history import ABSENT, DAMAGED, WHOLE, History
from foreshock.stores.history_settings import HistorySettings

LONGEST_WAIT_S: Final = 300.0
FAILED: Final = "failed"
_AGAIN: Final = {408, 418, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file.

    state     "whole", "absent" (the archive has none), "damaged" (it has, but not a good one) or
              "failed" (it could not be asked)
    bytes     that came over the wire, for the zip
    reason    one word of `ArchiveError.reason`, "" where it is whole
    """

    file: str
    state: str
    rows: int = 0
    bytes: int = 0
    reason: str = ""
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class _OutOfReachError(Exception):
    """All attempts are used up."""


def client_for(base_url: str, settings: HistorySettings) -> httpx.Client:
    """A client for one address. Loopback is never asked through a proxy."""
    host = urlsplit(base_url).hostname or ""
    return httpx.Client(
        base_url=base_url,
        timeout=settings.timeout_s,
        follow_redirects=True,
        trust_env=host not in ("127.0.0.1", "localhost", "::1"),
        headers={"User-Agent": "foreshock"},
    )


def fetch(
    history: History,
    file: ArchiveFile,
    settings: HistorySettings,
    today: date,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Fetch, verify and land one file. Never raises for what a server or a file may be like: the
    outcome says it, and the history notes it."""
    if client is None:
        with client_for(settings.archive_url, settings) as own:
            return fetch(history, file, settings, today, own, sleep)
    wire = _Wire(client, settings, sleep)
    said = {"first": file.first.isoformat(), "last": file.last.isoformat(), "asked": str(today)}
    try:
        told = wire.land(history, file)
    except _OutOfReachError as error:
        return Outcome(file.path, FAILED, 0, wire.bytes, "unreachable", str(error))
    except ArchiveError as error:
        state = ABSENT if error.reason == ABSENT else DAMAGED
        said |= {"reason": error.reason, "message": str(error)}
        history.note_file(file, state, said)
        return Outcome(file.path, state, 0, wire.bytes, error.reason, str(error))
    return Outcome(file.path, WHOLE, int(told["rows"]), wire.bytes)


class _Wire:
    """Attempts at one file."""

    def __init__(
        self, client: httpx.Client, settings: HistorySettings, sleep: Callable[[float], None]
    ) -> None:
        self._client, self._settings, self._sleep = client, settings, sleep
        self._failures = 0
        self.bytes = 0

    def land(self, history: History, file: ArchiveFile) -> dict[str, Any]:
        """Raises ArchiveError where the file is absent or damaged, _OutOfReachError where the
        attempts are used up."""
        sha256 = self._checksum(file)
        folder = history.folder(file.series) / "files"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".part-{(sha256 or 'unsigned')[:16]}-{file.name}"
        for other in folder.glob(f".part-*-{file.name}"):
            if other != part:
                other.unlink()
        downloads = 0
        while True:
            resumed = sha256 is not None and part.exists()
            downloads += not resumed
            self._download(file, part, resumed)
            try:
                told = land(history, file, part, sha256)
            except ArchiveError as error:
                part.unlink(missing_ok=True)
                # The wire may have done it: worth a second download, not a fifth. What fits its
                # checksum and is bad is what the venue keeps.
                if error.reason not in ("checksum", "not_a_zip", "empty") or downloads > 1:
                    raise
                continue
            part.unlink()
            return told

    def _checksum(self, file: ArchiveFile) -> str | None:
        """None where the zip has no checksum beside it; whether there is a zip shows then."""
        with self._ask(f"{file.path}.CHECKSUM") as answer:
            text = answer.read().decode("utf-8", "replace")
            return None if answer.status_code == 404 else expected_sha256(text, file.name)

    def _download(self, file: ArchiveFile, part: Path, resume: bool) -> None:
        while True:
            have = part.stat().st_size if resume and part.exists() else 0
            headers = {"Range": f"bytes={have}-"} if have else {}
            with self._ask(file.path, headers) as answer:
                if answer.status_code == 404:
                    raise ArchiveError(ABSENT, f"the archive has no {file.path}")
                if answer.status_code == 416:
                    return  # every byte is here already; the checksum decides
                try:
                    how = "ab" if answer.status_code == 206 else "wb"
                    with part.open(how, buffering=0) as out:  # a kill loses nothing that came
                        for chunk in answer.iter_raw():
                            out.write(chunk)
                            self.bytes += len(chunk)
                    return
                except httpx.HTTPError as error:
                    resume = True
                    self._again(f"{file.path} broke off: {error!r}")

    def _ask(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """A streamed answer of status 200, 206, 404 or 416, to be closed."""
        asked = {"Accept-Encoding": "identity", **(headers or {})}
        while True:
            request = self._client.build_request("GET", f"/{path}", headers=asked)
            try:
                answer = self._client.send(request, stream=True)
            except httpx.HTTPError as error:
                self._again(f"{path}: {error!r}")
                continue
            if answer.status_code in (200, 206, 404, 416):
                return closing(answer)
            answer.close()
            if answer.status_code not in _AGAIN:
                raise _OutOfReachError(f"{path}: answer {answer.status_code}")
            self._again(f"{path}: answer {answer.status_code}", answer.headers.get("Retry-After"))

    def _again(self, why: str, retry_after: str | None = None) -> None:
        """Pause before another attempt. Raises _OutOfReachError where there is none left."""
        self._failures += 1
        if self._failures >= self._settings.attempts:
            raise _OutOfReachError(f"{why}, after {self._failures} attempts")
        wait_s = self._settings.back_off_s * 2 ** (self._failures - 1)
        if retry_after is not None and retry_after.isdigit():
            wait_s = float(retry_after)
        self._sleep(min(wait_s, LONGEST_WAIT_S))
