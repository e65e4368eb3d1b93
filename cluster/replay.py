"""`foreshock replay`: play a recorded session through the live code and compare it, bit by bit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cluster.options import Files, Json, ModeOption, Set, read_config
from cluster.output import Answer, answer
from cluster.session import Say, sayer
from foreshock.errors import ConfigError, RecordingError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import STATE_NAMES

if TYPE_CHECKING:
    from foreshock.engine.outcomes import Boundary
    from foreshock.replay.compare import Reconciliation
    from foreshock.replay.reconcile import Judge, Opinion
    from foreshock.settings import Config
    from foreshock.stores.recordings import RecordedBoundary, Recording

MAX: Final = "max"
ROWS, FRAMES = "rows", "frames"


def replay(
    session: Annotated[
        list[Path],
        typer.Argument(help="A session of ours (a directory), or files recorded by others."),
    ],
    speed: Annotated[str, typer.Option("--speed", help="Recorded seconds a second, or max.")] = MAX,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Who scores: champion, none or an artifact directory; else whoever did.",
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option("--from", help="What drives the engine: rows, or the raw frames behind them."),
    ] = ROWS,
    redis: Annotated[
        str | None,
        typer.Option(
            "--redis",
            metavar="URL",
            help="Refill the streams of this Redis tick by tick instead of comparing.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--form", help="Of the entries with --redis: plain or packed.")
    ] = "plain",
    json: Json = False,
    mode: ModeOption = None,
    config: Files = None,
    given: Set = None,
) -> None:
    """Replay a recorded session; of our own, compare bit by bit with what was said live.

    Vectors, epochs, warm masks, bills, probabilities and verdicts are compared; exit code 1 says
    that one of them differs, and the first is named. Sessions that others recorded have nothing to
    compare with: their boundaries, books and verdicts are counted."""

    def work() -> Answer:
        from cluster.replay_raw import replay_raw_session

        tree = read_config(mode or "replay", config, given).tree
        pace = Pace(speed_of(speed))
        if source not in (ROWS, FRAMES):
            raise ConfigError(f"--from {source!r} is neither {ROWS} nor {FRAMES}")
        if redis is not None:
            from cluster.replay_redis import refill

            if form not in ("plain", "packed"):
                raise ConfigError(f"--form {form!r} is neither plain nor packed")
            if len(session) > 1 or not session[0].is_dir():
                raise ConfigError("--redis takes one session of ours: a directory")
            return refill(session[0], redis, pace, form, source)
        if any(path.is_dir() for path in session):
            if len(session) > 1:
                raise ConfigError("give one directory, or several files of one recorded session")
            return _replay_ours(session[0], tree, model, pace, source)
        return replay_raw_session(session, tree, model, pace)

    answer(work, json)


def speed_of(text: str) -> float | None:
    """Recorded seconds a second; None for as fast as it goes. Raises ConfigError."""
    if text == MAX:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < float("inf"):
        raise ConfigError(f"--speed {text!r} is neither a number above 0 nor max")
    return speed


@dataclass(slots=True)
class Pace:
    """Waits before each boundary until it is due. `speed` None never waits."""

    speed: float | None
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _anchor: tuple[float, int] | None = None

    def __call__(self, boundary: Boundary) -> None:
        """Wait for `boundary`."""
        self.until(boundary.boundary_ns)

    def until(self, at_ns: int) -> None:
        """Wait for a moment of the recording."""
        if self.speed is None:
            return
        if self._anchor is None or at_ns < self._anchor[1]:
            self._anchor = (self.monotonic(), at_ns)
        began_s, first_ns = self._anchor
        due_s = began_s + (at_ns - first_ns) / SECOND_NS / self.speed
        self.sleep(max(0.0, due_s - self.monotonic()))


def aloud(judge: Judge, pace: Pace, say: Say) -> Judge:
    """The same judge; where the replay is paced, for people to watch, it says a line a boundary."""
    if pace.speed is None:
        return judge

    def judge_and_say(boundary: Boundary, said: RecordedBoundary | None) -> Opinion:
        opinion = judge(boundary, said)
        say(boundary_line(boundary, opinion))
        return opinion

    return judge_and_say


def boundary_line(boundary: Boundary, opinion: Opinion) -> str:
    """A boundary for people: its time in UTC, the books, and what was made of it."""
    at = datetime.fromtimestamp(boundary.boundary_ns / SECOND_NS, UTC)
    books = Counter(STATE_NAMES[state] for state in boundary.book_state.tolist())
    parts = [", ".join(f"{n} {state}" for state, n in sorted(books.items()))]
    verdicts = opinion.verdicts or ()
    likely = max(
        (v for v in verdicts if v["probability"] is not None),
        key=lambda v: v["probability"],
        default=None,
    )
    if likely is not None:
        parts.append(f"likeliest {likely['symbol']} {likely['probability']:.3f}")
    parts += [f"SIGNAL {v['symbol']} {v['detail']}" for v in verdicts if v["signal"]]
    return f"{at:%H:%M:%S} " + " · ".join(parts)


def recordings_in(directory: Path) -> list[Path]:
    """Every recording at or below `directory` that holds rows, in order. Raises RecordingError."""
    found = sorted(path.parent for path in directory.rglob("manifest.json"))
    found = [place for place in found if any((place / "rows").glob("[!.]*.parquet"))]
    if not found:
        raise RecordingError(f"{directory} holds no recording with rows")
    return found


def _replay_ours(
    directory: Path, tree: Config, model: str | None, pace: Pace, source: str
) -> Answer:
    found, document = replayed(directory, tree, model, pace, source)

    def show(console: Console) -> None:
        for place, report in found:
            console.print(f"{place}: {sentence(report)}", soft_wrap=True)

    return Answer(document, show, passed=document["same"] is not False)


def replayed(
    directory: Path,
    tree: Config,
    model: str | None,
    pace: Pace,
    source: str = ROWS,
    remake: bool = False,
) -> tuple[list[tuple[Path, Reconciliation]], dict[str, Any]]:
    """Every recording of a session replayed and compared, and all of it as one document.

    source   what drives the engine
    remake   whether rows are made anew from the raw frames too, where they were kept, and compared
    """
    found: list[tuple[Path, Reconciliation]] = []
    versions: set[str] = set()
    for place in recordings_in(directory):
        report, spoke = _replayed_by(place, tree, model, pace, source, remake)
        versions.update(spoke)
        found.append((place, report))
    gaps = {place: _gaps(place) for place, _ in found}
    reports = [report for _, report in found]
    verdicts = [report.same for report in reports]
    same = False if False in verdicts else True if True in verdicts else None
    return found, {
        "session": str(directory),
        "kind": "recording",
        "same": same,
        **_totals(reports),
        "first_difference": next(
            ({"recording": str(p), **_told(r)["first_difference"]} for p, r in found if r.first),
            None,
        ),
        "models": sorted(versions),
        "gaps": sum(map(len, gaps.values())),
        "recordings": [
            {"directory": str(place), **_told(report), "gaps": gaps[place]}
            for place, report in found
        ],
    }


def _gaps(place: Path) -> list[dict[str, Any]]:
    """What the record tells is missing; nothing where its files cannot be read, which is told as a
    difference."""
    from foreshock.stores.gaps import gaps_of
    from foreshock.stores.recordings import open_recording

    symbols = [instrument.symbol for instrument in open_recording(place).instruments]
    try:
        return [gap.as_dict() for gap in gaps_of(place, symbols)]
    except RecordingError:
        return []


def _replayed(place: Path, tree: Config, model: str | None = None) -> Reconciliation:
    """The report of one recording."""
    return _replayed_by(place, tree, model, Pace(None))[0]


def _replayed_by(
    place: Path,
    tree: Config,
    model: str | None,
    pace: Pace,
    source: str = ROWS,
    remake: bool = False,
) -> tuple[Reconciliation, list[str]]:
    from cluster.judging import Judging
    from foreshock.engine.provenance import changes
    from foreshock.replay.reconcile import reconcile
    from foreshock.replay.remake import session_like

    recording = opened(place, source)
    session = session_like(recording) if remake and recording.has_journal else None
    judging = None
    if not changes(recording.meta).features:  # else nobody judges: a model scores whole vectors
        judging = Judging.of(recording, tree, model)
    judge = None if judging is None else aloud(judging, pace, sayer())
    report = reconcile(recording, judge, pace, session)
    if remake and session is None:
        report.words.append("no raw frames were kept: rows are taken as recorded")
    return report, [] if judging is None else judging.versions


def opened(place: Path, source: str = ROWS) -> Recording:
    """A recording whose rows are read, or made anew of its raw frames. Raises RecordingError."""
    from foreshock.replay.remake import FromFrames, session_like
    from foreshock.stores.recordings import open_recording

    recording = open_recording(place)
    if source == ROWS:
        return recording
    if not recording.has_journal:
        raise RecordingError(f"{place} holds no raw frames: replay its rows")
    return FromFrames(recording, lambda: session_like(recording))


def spoken(reasons: Counter[str]) -> dict[str, Any]:
    """Verdicts counted: {verdicts, signals, refusals: {reason: n}}."""
    refusals = {name: n for name, n in sorted(reasons.items()) if name != "signal"}
    return {
        "verdicts": reasons.total(),
        "signals": reasons["signal"],
        "refusals": refusals,
    }


def _totals(reports: Iterable[Reconciliation]) -> dict[str, Any]:
    compared: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    names = (
        "boundaries", "rows", "differing_bits", "holes", "skipped", "unrecorded", "snapshots",
    )  # fmt: skip
    for report in reports:
        compared.update(report.compared)
        differing.update(report.differing)
        reasons.update(report.reasons)
        plain.update({name: getattr(report, name) for name in names})
    return {
        **{name: plain[name] for name in names},
        "compared": dict(compared),
        "differing": dict(differing),
        **spoken(reasons),
    }


def _told(report: Reconciliation) -> dict[str, Any]:
    return {
        "same": report.same,
        **_totals([report]),
        "words": report.words,
        "first_difference": None if report.first is None else asdict(report.first),
        "differences": {stage: asdict(one) for stage, one in report.firsts.items()},
    }


def sentence(report: Reconciliation) -> str:
    """A report for people."""
    said = spoken(report.reasons)
    heart = (
        f"{report.boundaries} boundaries, {said['verdicts']} verdicts, {said['signals']} signals"
    )
    words = "".join(f"; {word}" for word in report.words)
    first = report.first
    if first is None:
        compared = report.compared
        if not compared:
            return f"{heart}; the session kept nothing to compare with{words}"
        raw = (
            f"{compared['frames']} frames, {compared['rows']} rows, " if compared["frames"] else ""
        )
        return (
            f"{heart}; compared {raw}{compared['vectors']} boundaries, {compared['probabilities']}"
            f" with probabilities, {compared['verdicts']} with verdicts: nothing differs{words}"
        )
    where = " ".join(part for part in (first.stage, first.symbol, first.what) if part)
    at = "" if first.row < 0 else f" row {first.row}"
    return (
        f"{heart}; {report.differing_bits} bits differ, first {where} at {first.boundary_ns}{at}:"
        f" recorded {first.recorded}, replayed {first.replayed}{words}"
    )
