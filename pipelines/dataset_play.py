"""Rows gone through the engine: its vectors, and the path on which labels are decided.

The path is the touch after every row that left a valid one (book), the price of every trade (tape),
or the bars that closed (bars).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.outcomes import BILL_INPUT, Boundary
from foreshock.engine.step import Engine
from foreshock.errors import DatasetError
from foreshock.features.vector import Layout
from foreshock.market import ladder as books
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.rows import (
    ARRIVAL,
    BAR,
    EPOCH,
    ID,
    META,
    SEQ,
    SYNCED,
    TAPE,
    TRADE,
    A,
    B,
    C,
    Rows,
    Words,
    as_words,
)
from foreshock.market.touch import ASK_TICKS, BID_TICKS, TOUCH_WORDS, VALID
from foreshock.stores.row_tables import pack_mask
from pipelines.dataset_settings import BAR_S, DatasetSettings

Ints = NDArray[np.int64]

_NEVER_NS: Final = np.iinfo(np.int64).max
# Columns of a path. Quotes and trades: what could be sold at and bought at. Bars: the rest too.
P_ARRIVAL, P_SYMBOL, P_BID, P_ASK = range(4)
P_OPEN_NS, P_OPEN, P_HIGH, P_LOW, P_CLOSE, P_LOTS, P_QUOTE = range(2, 9)
_WIDTH: Final = {"book": 4, "tape": 4, "bars": 9}


@dataclass(frozen=True, slots=True)
class Played:
    """b boundaries, n symbols, k features, m rows of the path.

    at_ns        int64 (b,), in order
    vectors      float32 (b, n, k)
    ready        bool (b, n): every required feature is warm
    book_state   uint8 (b, n); book_epoch, tape_epoch int32 (b, n)
    bill_inputs  BILL_INPUT (b, n)
    path         int64 (m, 4): arrival_ns, symbol, bid and ask in ticks (of a trade its price twice)
                 or (m, 9): arrival_ns, symbol, open_ns, open, high, low, close in ticks, lots,
                 quote volume as float64 bits
    """

    layout: Layout
    at_ns: Ints
    vectors: NDArray[np.float32]
    ready: NDArray[np.bool_]
    book_state: NDArray[np.uint8]
    book_epoch: NDArray[np.int32]
    tape_epoch: NDArray[np.int32]
    bill_inputs: NDArray[np.void]
    path: Ints

    def until(self, limit_ns: int) -> Played:
        """As if nothing had come behind `limit_ns`: boundaries and path up to it, and bars that
        closed by then."""
        b = int(np.searchsorted(self.at_ns, limit_ns, side="right"))
        names = [f.name for f in fields(self) if f.name not in ("layout", "path")]
        cut = {name: getattr(self, name)[:b] for name in names}
        if self.path.shape[1] == _WIDTH["bars"]:
            path = self.path[self.path[:, P_OPEN_NS] + BAR_S * SECOND_NS <= limit_ns]
        else:  # in order of arrival; a view, since a day of quotes is large
            path = self.path[: int(np.searchsorted(self.path[:, P_ARRIVAL], limit_ns, "right"))]
        return Played(layout=self.layout, path=path, **cut)


class Player:
    """Takes rows in batches and keeps what a dataset needs of them; `played` hands it over."""

    def __init__(
        self, instruments: Sequence[Instrument], settings: DatasetSettings, start: bytes | None
    ) -> None:
        """Raises SnapshotError where the snapshot `start` is of another engine."""
        self.engine = Engine(
            instruments, settings.set, step_ns=settings.step_ns, phase_ns=settings.phase_ns
        )
        self._required = settings.required
        if start is not None:
            self.engine.restore(start)
        self._settings = settings
        ladder = self.engine.ladder
        self._ladder = ladder._replace(**{k: v.copy() for k, v in ladder._asdict().items()})
        self._steps: dict[str, list[NDArray[Any]]] = {}
        self._path: list[Ints] = []

    def feed(self, rows: Rows) -> None:
        """A batch, headers with their packs. Raises SequenceError and RowError as the engine does,
        and DatasetError on a market row that cannot be true."""
        if not len(rows):
            return
        closed = self.engine.feed(rows)
        words = as_words(rows if rows.flags.writeable else rows.copy())
        if self._settings.tier == "book":
            self._path.append(_touches(words, self._ladder))
        else:
            draw = _prints if self._settings.tier == "tape" else _bars
            self._path.append(draw(words))
        if closed:
            for name, array in _stacked(closed, self._required).items():
                self._steps.setdefault(name, []).append(array)

    def add_path(self, path: Ints) -> None:
        """Rows of the path of before the snapshot that was started from."""
        self._path.append(path)

    def played(self) -> Played:
        """All so far."""
        n, layout = len(self.engine.instruments), self.engine.layout
        steps = {name: np.concatenate(each) for name, each in self._steps.items()} or {
            "at_ns": np.zeros(0, np.int64),
            "vectors": np.zeros((0, n, len(layout)), np.float32),
            "ready": np.zeros((0, n), np.bool_),
            "book_state": np.zeros((0, n), np.uint8),
            "book_epoch": np.zeros((0, n), np.int32),
            "tape_epoch": np.zeros((0, n), np.int32),
            "bill_inputs": np.zeros((0, n), BILL_INPUT),
        }
        empty = np.zeros((0, _WIDTH[self._settings.tier]), np.int64)
        self._path = [np.concatenate([empty, *self._path])]
        return Played(layout=layout, path=self._path[0], **steps)


def _stacked(closed: Sequence[Boundary], required: Ints) -> dict[str, NDArray[Any]]:
    return {
        "at_ns": np.array([b.boundary_ns for b in closed], np.int64),
        "ready": np.stack([b.warm[:, required].all(axis=1) for b in closed]),
        **{
            name: np.stack([getattr(b, name) for b in closed])
            for name in ("vectors", "book_state", "book_epoch", "tape_epoch", "bill_inputs")
        },
    }


def play(
    instruments: Sequence[Instrument],
    batches: Iterable[Rows],
    start: bytes | None = None,
    settings: DatasetSettings | None = None,
) -> Played:
    """Run the engine over rows, from the beginning or from its snapshot `start`."""
    player = Player(instruments, settings or DatasetSettings(), start)
    for rows in batches:
        player.feed(rows)
    return player.played()


def _touches(words: Words, ladder: books.Ladder) -> Ints:
    touch = np.zeros((len(words), TOUCH_WORDS), np.int64)  # pack rows stay 0, hence not VALID
    books.scan(words, touch, 0, len(words), _NEVER_NS, ladder)
    good = touch[:, VALID] == 1
    at = words[good]
    return np.stack(
        [at[:, ARRIVAL], at[:, META] >> 32, touch[good, BID_TICKS], touch[good, ASK_TICKS]], axis=1
    )


def _prints(words: Words) -> Ints:
    trades = words[~pack_mask(words) & ((words[:, META] & 0xFF) == TRADE)]
    price = trades[:, A]
    return np.stack([trades[:, ARRIVAL], trades[:, META] >> 32, price, price], axis=1)


def _bars(words: Words) -> Ints:
    at = np.flatnonzero(~pack_mask(words))
    heads = words[at]
    closed = ((heads[:, META] & 0xFF) == BAR) & (heads[:, B] == 1)
    closed &= heads[:, A] == BAR_S * SECOND_NS
    heads, packs = heads[closed], words[at[closed] + 1]
    return np.column_stack(
        [heads[:, ARRIVAL], heads[:, META] >> 32, heads[:, ID], packs[:, :5], packs[:, 6]]
    ).astype(np.int64)


def censored_spans(played: Played, s: int, settings: DatasetSettings) -> Ints:
    """int64 (c, 2): the steps [start, end) whose path must not be believed: at whose either end the
    book was not SYNCED (tier book), within which a new epoch began, or that are longer than a step
    because nothing at all came. On bars the bars themselves say what is missing."""
    at_ns = played.at_ns
    if settings.tier == "bars":
        return np.zeros((0, 2), np.int64)
    bad = np.diff(at_ns) != settings.step_ns
    if settings.tier == "book":
        good = played.book_state[:, s] == SYNCED
        bad |= ~good[1:] | ~good[:-1] | (np.diff(played.book_epoch[:, s]) != 0)
    else:
        bad |= np.diff(played.tape_epoch[:, s]) != 0
    return np.stack([at_ns[:-1][bad], at_ns[1:][bad]], axis=1)


def missing_bars(played: Played, s: int) -> Ints:
    """int64 (c, 2): from the close of a bar to the opening of the next one there is, where these
    are not the same."""
    opened = np.unique(played.path[played.path[:, P_SYMBOL] == s, P_OPEN_NS])
    closed = opened + BAR_S * SECOND_NS
    torn = opened[1:] > closed[:-1]
    return np.stack([closed[:-1][torn], opened[1:][torn]], axis=1)


def check_market(rows: Rows, instruments: Sequence[Instrument]) -> None:
    """Raises DatasetError naming the first market row that cannot be true: a trade without a price
    or a size, or said twice running; a bar without a price or whose high and low do not hold its
    open and close."""
    words = as_words(rows)
    is_head = ~pack_mask(words)
    at = np.flatnonzero(is_head)
    heads = words[at]
    kind, symbol = heads[:, META] & 0xFF, heads[:, META] >> 32
    for s, instrument in enumerate(instruments):
        mine = (symbol == s) & ((kind == TRADE) | ((kind == EPOCH) & (heads[:, C] == TAPE)))
        tape = heads[mine]
        trade = (tape[:, META] & 0xFF) == TRADE
        for column, what in ((A, "price"), (B, "size")):
            _refuse(trade & (tape[:, column] <= 0), tape, instrument, f"a trade's {what}", column)
        again = np.zeros(len(tape), np.bool_)
        again[1:] = trade[1:] & trade[:-1] & (tape[1:, ID] == tape[:-1, ID]) & (tape[1:, ID] > 0)
        _refuse(again, tape, instrument, "said twice running: trade id", ID)
        bars = (symbol == s) & (kind == BAR)
        if bars.any():
            head, pack = heads[bars], words[at[bars] + 1]
            prices = pack[:, :4]
            _refuse(
                (prices <= 0).any(axis=1), head, instrument, "no price in the bar opened at", ID
            )
            torn = (prices.max(axis=1) > pack[:, 1]) | (prices.min(axis=1) < pack[:, 2])
            _refuse(torn, head, instrument, "high and low do not hold the bar opened at", ID)
            _refuse(pack[:, 4] < 0, head, instrument, "negative volume in the bar opened at", ID)


def _refuse(
    bad: NDArray[np.bool_], heads: Words, instrument: Instrument, what: str, column: int
) -> None:
    if bad.any():
        row = heads[int(np.argmax(bad))]
        raise DatasetError(f"{instrument.symbol}, row with seq {row[SEQ]}: {what} {row[column]}")
