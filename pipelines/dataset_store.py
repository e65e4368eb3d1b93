"""Build a dataset by symbol and day: plan, run in this process or on Ray, tell.

    DIR/symbol=…/day=…/<session>.parquet   the dataset (pipelines/datasets.py)
    DIR/manifest.json                      written last, when all parts stand
    DIR/.work/<session>/cut/…              rows by symbol and day (pipelines/dataset_cut.py)
    DIR/.work/<session>/state/…            engine and open labels at a day's end

The files are the state. A part carries the fingerprint of all that it follows from: settings, code,
the rows of its day, those that its labels look at, and the day before it. What has the right one is
not made again; so a build that was killed goes on, a build with a new day makes that day (and the
one whose labels look into it), and one with nothing new makes nothing. Days of a symbol follow each
other, symbols run side by side; a task holds one symbol and day in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from foreshock.errors import DatasetError, StoreError
from foreshock.market.clock import SECOND_NS
from pipelines.dataset_cut import Cut, Session, cut_group
from pipelines.dataset_day import DayDone, DayJob, build_day, read_part_meta
from pipelines.dataset_run import alone, progress, runner
from pipelines.dataset_settings import DAY_NS, DatasetSettings
from pipelines.dataset_tell import Part, told_of
from pipelines.datasets import MANIFEST, part_path, write_manifest

STATES_KEPT: Final = 3  # days whose state is kept, so that the newest may grow
Chain = list[DayJob]


@dataclass(slots=True)
class Built:
    """What a build did; `document` is the manifest."""

    directory: Path
    document: dict[str, Any]
    planned: int
    made: int
    done: list[DayDone] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        body, cpu_s = self.document, sum(d.cpu_s for d in self.done)
        return {
            "directory": str(self.directory),
            "rows": body["rows"],
            "symbols": len(body["symbols"]),
            "fingerprint": body["fingerprint"],
            "parts": {"all": self.planned, "made": self.made},
            "surges": {h: b["positives"] for h, b in body["balance"].items()},
            "base_rate": {h: b["base_rate"] for h, b in body["balance"].items()},
            "market_rows": sum(d.market_rows for d in self.done),
            "cpu_s": round(cpu_s, 3),
            "peak_bytes": max((d.peak_bytes for d in self.done), default=0),
        }


def build_store(
    directory: Path,
    sessions: Sequence[Session],
    settings: DatasetSettings,
    *,
    use_ray: bool = True,
    parallel: int | None = None,
    show: bool = False,
) -> Built:
    """Build the dataset in `directory`, or bring it up to date.

    parallel   tasks that run at the same time; by default as many as the cluster has cores

    The same sessions and settings give the same bytes, on Ray or not, at once or in pieces. Raises
    DatasetError where sessions differ in source or market, where a symbol is in two at the same
    time, where rows cannot be true, or nothing can be labelled; StoreError where another build
    writes there."""
    domains = {session.domain() for session in sessions}
    if len(domains) != 1:
        raise DatasetError(f"sessions of one source and market are needed, got {sorted(domains)}")
    source, market = domains.pop()
    work = directory / ".work"
    with alone(work), runner(use_ray, parallel) as run, progress(show) as tell:
        groups = [(session, group, work) for session in sessions for group in session.groups()]
        tell("cut", len(groups))
        cuts = run(cut_group, [[g] for g in groups], lambda: tell("", 0))
        made_of = (settings.model_dump(mode="json"), settings.fingerprint)
        by_symbol: dict[tuple[Session, str], list[Cut]] = {}
        for (session, _, _), (found,) in zip(groups, cuts, strict=True):
            for cut in found:
                by_symbol.setdefault((session, cut.symbol), []).append(cut)
        chains = [
            _chain(directory, session, mine, made_of)
            for (session, _), mine in sorted(
                by_symbol.items(), key=lambda e: (e[0][1], e[0][0].name)
            )
        ]
        stale = [_stale(chain) for chain in chains]
        tell("days", sum(map(len, stale)))
        done = run(_build_and_tidy, [[(j, _old(c, j)) for j in todo]
                                     for c, todo in zip(chains, stale, strict=True)],
                   lambda: tell("", 0))  # fmt: skip
        recorded: dict[str, int] = {}
        for (_, symbol), mine in by_symbol.items():
            recorded[symbol] = max(recorded.get(symbol, 0), *(cut.last_ns for cut in mine))
        manifest = {**settings.manifest(source, market), "recorded_to_ns": recorded}
        document = _finish(directory, chains, manifest)
    planned = sum(map(len, chains))
    made = [each for chain in done for each in chain]
    return Built(directory, document, planned, len(made), made)


def _chain(
    directory: Path, session: Session, cuts: Sequence[Cut], made_of: tuple[dict[str, Any], str]
) -> Chain:
    """The jobs of a symbol, day by day, each with the fingerprint of all that it follows from.

    made_of   the settings as JSON, and their fingerprint"""
    by_day: dict[int, list[Cut]] = {}
    for cut in cuts:
        by_day.setdefault(cut.day, []).append(cut)
    days, out = sorted(by_day), []
    symbol, instrument = cuts[0].symbol, cuts[0].instrument
    place = directory / ".work" / session.name
    told, fingerprint_of_settings = made_of
    horizon_ns = told["labels"]["horizons_s"][-1] * SECOND_NS
    before, state_before = "", ""
    for at, day in enumerate(days):
        limit_ns = (day + 1) * DAY_NS + 2 * horizon_ns
        following = by_day[days[at + 1]] if at + 1 < len(days) else []
        # The first file that begins behind the limit closes the boundaries before it.
        within = sum(cut.first_ns <= limit_ns for cut in following)
        ahead = following[: within + 1]
        rows = by_day[day]
        body = [
            fingerprint_of_settings, instrument, day, before,
            [c.digest for c in rows], [c.digest for c in ahead],
        ]  # fmt: skip
        fingerprint = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        state = str(place / "state" / f"symbol={symbol}" / f"{day}-{fingerprint}.npz")
        out.append(
            DayJob(
                told, instrument, day,
                tuple(map(asdict, rows)), tuple(map(asdict, ahead)), str(place / "cut"),
                state_before, state,
                str(directory / part_path(symbol, day, session.name)),
                limit_ns, fingerprint,
            )
        )  # fmt: skip
        before, state_before = fingerprint, state
    return out


def _stale(chain: Chain) -> Chain:
    """The jobs to run: those whose part is not there with the right fingerprint, and those before
    them that must be gone through for the state to start from."""
    wanted: set[int] = set()
    for at, job in enumerate(chain):
        meta = read_part_meta(Path(job.part))
        if meta is not None and meta["fingerprint"] == job.fingerprint:
            continue
        while at not in wanted:
            wanted.add(at)
            if at == 0 or Path(chain[at].before).exists():
                break
            at -= 1
    return [chain[at] for at in sorted(wanted)]


def _old(chain: Chain, job: DayJob) -> str:
    """The state that nobody needs once this job is done, "" where there is none."""
    at = chain.index(job)
    return chain[at - STATES_KEPT].state if at >= STATES_KEPT else ""


def _build_and_tidy(job: DayJob, old: str) -> DayDone:
    done = build_day(job)
    if old:
        Path(old).unlink(missing_ok=True)
    return done


def _finish(directory: Path, chains: Sequence[Chain], manifest: dict[str, Any]) -> dict[str, Any]:
    """Remove what this build does not have, write the manifest. Raises DatasetError where a symbol
    is in two sessions at the same time, or there is no row at all."""
    expected = {job.part: job for chain in chains for job in chain}
    kept = {*expected, *(job.state for chain in chains for job in chain)}
    for pattern in ("symbol=*/day=*/*.parquet", ".work/*/state/*/*.npz"):
        for file in directory.glob(pattern):
            if str(file) not in kept:
                file.unlink()
    parts: dict[str, int] = {}
    told: list[Part] = []
    for part, job in expected.items():
        meta = read_part_meta(Path(part))
        if meta is None:
            raise StoreError(f"{part} was made and is gone")
        path = Path(part).relative_to(directory).as_posix()
        parts[path] = int(meta["told"]["rows"])
        told.append((path, str(job.instrument["symbol"]), job.day, meta["told"]))
    if not sum(parts.values()):
        (directory / MANIFEST).unlink(missing_ok=True)
        raise DatasetError(
            f"no boundary of these sessions can be labelled: {json.dumps(told_of(told))}"
        )
    symbols = sorted({symbol for _, symbol, _, _ in told})
    return write_manifest(directory, manifest, symbols, parts, **told_of(told))


def clear_work(directory: Path) -> None:
    """Remove what only a later build would use: cut rows and states. That one cuts anew."""
    shutil.rmtree(directory / ".work", ignore_errors=True)
