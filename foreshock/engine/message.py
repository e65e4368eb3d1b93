"""What a watcher sends to the gate: one message per boundary, all its symbols in one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foreshock.engine.outcomes import Boundary
from foreshock.market.rows import Rows, empty_rows
from foreshock.models.base import Domain


@dataclass(frozen=True, slots=True)
class BoundaryMessage:
    """One closed boundary of one watcher. n symbols.

    watcher              name of the sender
    symbols              n names, in the order of the boundary's rows
    domain               where the rows come from; a model of another domain may not speak
    boundary             what the engine said
    control_rows         CONTROL rows since the sender's last message, ROW (m,), maybe empty
    sent_ns              when it was sent, UTC ns of the sender's clock
    layout_fingerprint   of the features in `boundary.vectors`; empty: those of this build
    live                 whether stamps are of this clock, so that latencies and ages mean something
    tell_all             whether the answer is to carry scores and verdicts, for a recording
    health               how the sender goes, for the metrics: clock_offset_s, lag_s, shedding

    A message may be sent again after an error: the gate knows what it judged already.
    """

    watcher: str
    symbols: tuple[str, ...]
    domain: Domain | Mapping[str, str]
    boundary: Boundary
    control_rows: Rows = field(default_factory=empty_rows)
    sent_ns: int = 0
    layout_fingerprint: str = ""
    live: bool = True
    tell_all: bool = False
    health: Mapping[str, float] = field(default_factory=dict)
