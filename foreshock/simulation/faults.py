"""Faults on demand: what a local exchange does wrong, to whom, for how long, and what it did.

Pure data and a seeded draw. The exchange asks at each frame and each REST answer; sockets, timers
and HTTP are its own. Every fault that was told is kept with the number of times it struck.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "drop_next_depth", "drop", "duplicate", "reorder", "truncate", "corrupt", "garbage", "delay",
    "silence", "split", "cut", "halt", "stale_snapshot", "rest_429", "rest_418", "rest_down",
    "bad_tick",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FRAME_KINDS: Final = (
    "drop_next_depth", "drop", "duplicate", "reorder", "truncate", "corrupt", "garbage", "delay",
    "silence", "split",
)  # fmt: skip
REST_KINDS: Final = ("rest_429", "rest_418", "rest_down")

_RUBBISH: Final = (
    b'{"stream":"%s@trade","data":{"e":"trade","E":17',
    b"\x7f\x00 not json at all",
    b'{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","s":"","U":-1,"u":"x"}}',
    b"[]",
)


class Fault(BaseModel):
    """One fault. It strikes the next `count` times, or, where `seconds` is above zero, as long as
    that. `count` 0 and no `seconds` end a fault of this kind and symbol.

    drop, drop_next_depth   frames are not delivered (of any family, of depth)
    duplicate         frames come twice
    reorder           a frame comes behind the next one of its stream
    truncate          frames end in the middle
    corrupt           bytes of frames are overwritten with such as no number and no name has
    garbage           frames have rubbish before them
    delay             frames come `seconds` later (the next `count` of them)
    silence           frames are not delivered, and the connection stays
    split             frames go by turns to the subscriber and to another of its sockets
    cut               connections that subscribe to the symbol are cut, now
    halt              the symbol does not trade for `seconds`; exchangeInfo says so
    stale_snapshot    depth answers are those of the moment at which the fault was told
    rest_429, rest_418   REST answers are refusals, with Retry-After of `seconds` (rounded up)
    rest_down         REST answers are 503
    bad_tick          exchangeInfo tells a tick ten times too coarse
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(description="What goes wrong.")
    symbol: str = Field("", description="Whose frames or answers; empty: anybody's.")
    family: str = Field("", description="Which stream (trade, depth …); empty: any.")
    socket: int = Field(-1, description="Only on this connection, by its number; -1: on all.")
    count: int = Field(1, ge=0, description="How often it strikes, where `seconds` is 0.")
    seconds: float = Field(0.0, ge=0, description="How long it lasts.")


@dataclass(slots=True)
class Told:
    """A fault that was told, and what became of it."""

    fault: Fault
    at_ns: int
    until_ns: int  # 0: it ends by its count
    left: int
    hits: int = 0
    touched: set[str] = field(default_factory=set)  # symbols that a cut met besides its own

    def fact(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.fault.model_dump(), "at_ns": self.at_ns, "hits": self.hits}


@dataclass(slots=True)
class Faults:
    """What is wrong right now. Times are any monotonic ns, the same for all calls."""

    seed: int = 0
    log: list[Told] = field(default_factory=list)
    active: list[Told] = field(default_factory=list)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def tell(self, fault: Fault, now_ns: int) -> Told:
        """From now on. A newer fault of the same kind, symbol, family and socket takes the place of
        an older one. Faults that strike at once (cut) are only written down."""
        same = (fault.kind, fault.symbol, fault.family, fault.socket)
        self.active = [
            told
            for told in self.active
            if (told.fault.kind, told.fault.symbol, told.fault.family, told.fault.socket) != same
        ]
        by_time = fault.seconds > 0 and fault.kind not in ("delay", "rest_429", "rest_418")
        until_ns = now_ns + int(fault.seconds * 1e9) if by_time else 0
        told = Told(fault, now_ns, until_ns, fault.count)
        self.log.append(told)
        if fault.kind == "cut":
            return told
        if until_ns or fault.count:
            self.active.append(told)
        return told

    def end(self) -> None:
        """No fault any more."""
        self.active = []

    def strike(self, kinds: Sequence[str], symbol: str, family: str, now_ns: int) -> list[Told]:
        """The faults of these kinds that strike here and now, each counted."""
        if not self.active:
            return []
        struck, over = [], False
        for told in self.active:
            fault = told.fault
            if told.until_ns and now_ns >= told.until_ns:
                over = True
                continue
            if (
                fault.kind not in kinds
                or fault.symbol not in ("", symbol)
                or fault.family not in ("", family)
                or (fault.kind == "drop_next_depth" and family != "depth")
            ):
                continue
            told.hits += 1
            if not told.until_ns:
                told.left -= 1
                over = over or told.left == 0
            struck.append(told)
        if over:
            self.active = [
                told
                for told in self.active
                if (now_ns < told.until_ns if told.until_ns else told.left > 0)
            ]
        return struck

    def damaged(self, kind: str, frame: bytes) -> bytes:
        """A frame cut in the middle (truncate), or with up to four bytes overwritten (corrupt) that
        then cannot be read as another number or name."""
        if kind == "truncate":
            return frame[: self._random.randrange(1, max(2, len(frame) - 1))]
        broken = bytearray(frame)
        for _ in range(self._random.randint(1, 4)):
            broken[self._random.randrange(len(broken))] = self._random.choice(b"\x01\x7f#~")
        return bytes(broken)

    def rubbish(self, symbol: str) -> bytes:
        """Something that is no frame."""
        return self._random.choice(_RUBBISH).replace(b"%s", symbol.lower().encode())

    def facts(self) -> list[dict[str, Any]]:
        """All that was told, in order, JSON-ready."""
        return [told.fact() for told in self.log]


@dataclass(frozen=True, slots=True)
class Step:
    """A fault and when it is told, in seconds from the start of a plan."""

    at_s: float
    fault: Fault


# How long, or how often, a fault of a plan strikes.
_SHAPES: Final[dict[str, dict[str, Any]]] = {
    "drop_next_depth": {"count": 3},
    "drop": {"count": 4},
    "duplicate": {"count": 30},
    "reorder": {"count": 5},
    "truncate": {"count": 3},
    "corrupt": {"count": 5},
    "garbage": {"count": 5},
    "delay": {"count": 20, "seconds": 0.7},
    "silence": {"seconds": 4.0},
    "split": {"seconds": 2.0},
    "cut": {},
    "halt": {"seconds": 3.0},
    "stale_snapshot": {"seconds": 2.5},
    "rest_429": {"count": 1, "seconds": 1.0},
    "rest_418": {"count": 1, "seconds": 2.0},
    "rest_down": {"seconds": 2.0},
    "bad_tick": {"seconds": 2.5},
}
_PER_ADDRESS: Final = ("rest_429", "rest_418", "rest_down")


def plan_of(
    seed: int, symbols: Sequence[str], seconds: float, per_second: float = 1.0
) -> list[Step]:
    """A campaign: every kind at least once, at seeded moments within `seconds`, on seeded symbols
    of the even half of `symbols`, so that the odd half shows whether it is left alone. Kinds that
    meet a whole address (REST, silence of a socket) come once each at least.

    A snapshot is needed for `stale_snapshot` to matter, so a drop follows it at once."""
    rng = random.Random(seed)
    targets = symbols[::2]
    wanted: list[Kind] = [*KINDS]
    while len(wanted) < seconds * per_second:
        wanted.append(rng.choice([kind for kind in KINDS if kind not in _PER_ADDRESS]))
    rng.shuffle(wanted)
    steps = []
    for k, kind in enumerate(wanted):
        at_s = seconds * (k + rng.random()) / len(wanted)
        symbol = "" if kind in _PER_ADDRESS else rng.choice(targets)
        shape = _SHAPES[kind]
        family = rng.choice(("depth", "")) if kind in ("silence", "delay", "split") else ""
        if kind in ("duplicate", "reorder", "truncate", "corrupt", "drop"):
            family = rng.choice(("depth", "trade", ""))
        steps.append(Step(at_s, Fault(kind=kind, symbol=symbol, family=family, **shape)))
        if kind in ("stale_snapshot", *_PER_ADDRESS):  # something must ask, to meet it
            asker = symbol or rng.choice(targets)
            steps.append(Step(at_s + 0.05, Fault(kind="drop_next_depth", symbol=asker)))
    return sorted(steps, key=lambda step: step.at_s)
