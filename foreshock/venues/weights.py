"""The REST weight of one address, budgeted so that a venue's limit a minute is never exceeded.

A venue counts weight in minutes of its own, and a request between our sending and its answering:
nobody here knows which of its minutes a request falls into. So a request counts for a whole minute
*and* the longest that it may be under way; whatever minute the venue looks at, it holds no more
than the limit (tests/property/test_weights.py).

Pure: times are given, nothing waits here. The shell asks `wait_ns`, sleeps, and asks again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from foreshock.errors import ConfigError
from foreshock.market.clock import SECOND_NS

MINUTE_NS: Final = 60 * SECOND_NS
UNDER_WAY_NS: Final = 5 * SECOND_NS  # the longest that a request may take; the shell gives up then
SHARE: Final = 0.9  # of the limit: the rest is for whoever else uses this address
POLL_SHARE: Final = 0.5  # of our share: what is not urgent leaves the rest to snapshots
LONGEST_BAN_S: Final = 3 * 24 * 3600.0  # a Retry-After beyond it is rubbish; bans last up to 3 days


@dataclass(slots=True)
class WeightBudget:
    """What one address may still ask of one venue.

    limit        weight a minute, as the venue documents it
    window_ns    the venue's minute
    under_way_ns the longest between our sending and the venue's counting
    """

    limit: int
    window_ns: int = MINUTE_NS
    under_way_ns: int = UNDER_WAY_NS
    _spent: deque[tuple[int, int]] = field(default_factory=deque)
    _used: int = 0
    _stopped_until_ns: int = 0

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"a limit of {self.limit} a minute allows no request")

    def used(self, now_ns: int) -> int:
        """Weight that may count in any of the venue's minutes that is not over."""
        while self._spent and self._spent[0][0] <= now_ns - self.window_ns - self.under_way_ns:
            self._used -= self._spent.popleft()[1]
        return self._used

    def allowed(self, urgent: bool) -> int:
        """How much may be in use at once: all of our share, or what leaves room for urgent ones."""
        return max(1, int(self.limit * SHARE * (1.0 if urgent else POLL_SHARE)))

    def wait_ns(self, now_ns: int, weight: int, urgent: bool) -> int:
        """How long until a request of this weight may go; 0: now. One that is heavier than all that
        is allowed goes when nothing else is in use, if the venue's limit has room for it at all.

        Raises ConfigError on a weight beyond the limit: it could never go."""
        if weight > self.limit:
            raise ConfigError(f"a request of weight {weight} exceeds the {self.limit} of a minute")
        wait_ns = max(0, self._stopped_until_ns - now_ns)
        over = self.used(now_ns) + weight - max(self.allowed(urgent), weight)
        for spent_ns, part in self._spent:
            if over <= 0:
                break
            over -= part
            wait_ns = max(wait_ns, spent_ns + self.window_ns + self.under_way_ns - now_ns)
        return wait_ns

    def take(self, now_ns: int, weight: int, urgent: bool) -> int:
        """0, and the weight is spent: send the request. Else how long to wait before asking anew,
        in ns."""
        wait_ns = self.wait_ns(now_ns, weight, urgent)
        if wait_ns == 0:
            self._spend(now_ns, weight)
        return wait_ns

    def _spend(self, now_ns: int, weight: int) -> None:
        self._spent.append((now_ns, weight))
        self._used += weight

    def correct(self, now_ns: int, used: int) -> None:
        """The venue says how much of its minute is used: what is beyond ours was others' (or a
        predecessor's) and counts too."""
        beyond = used - self.used(now_ns)
        if beyond > 0:
            self._spend(now_ns, beyond)

    def stop(self, now_ns: int, wait_s: float) -> None:
        """The venue asked to wait (429, 418): nobody asks anything until then."""
        wait_ns = int(min(max(wait_s, 0.0), LONGEST_BAN_S) * SECOND_NS)
        self._stopped_until_ns = max(self._stopped_until_ns, now_ns + wait_ns)

    def stopped_s(self, now_ns: int) -> float:
        """Seconds until asking is allowed at all; 0.0 where it is."""
        return max(0, self._stopped_until_ns - now_ns) / SECOND_NS


def back_off_s(attempt: int, luck: float, first_s: float = 0.2, longest_s: float = 30.0) -> float:
    """Full jitter: anything from nothing to a limit that doubles with each attempt (the first is
    0) up to `longest_s`. `luck` in [0, 1] is the draw. Marc Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015."""
    limit_s = min(longest_s, first_s * 2.0 ** min(attempt, 32))
    return luck * limit_s
