"""The reading end of the bus: members of consumer groups, each entry handled at least once.

    group     its members share the entries of its streams; groups know nothing of one another
    pending   what a member took and has not acknowledged; it outlives the member
    reclaim   a member takes over what another took and left lying for `idle_ms`
    lost      how many trades, vectors or signals are missing right before an entry: the stream was
              trimmed before we came to them, or they were given up while Redis was away

A member that dies in mid-batch loses nothing: whoever reads next, itself under the same name or
another of the group, gets what it had not acknowledged. So an entry may come twice, and whoever
counts must be able to recognise it, by its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from foreshock.errors import StoreError
from foreshock.stores.hot_layout import Fields, Trade, numbers_of, read_trades

NEW: Final = ">"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream, as its form wrote it.

    lost     how many things are missing between this entry and the one read before it
    again    whether it was handed out before, to this member or to one that left it lying"""

    stream: str
    id: str
    fields: Fields
    lost: int = 0
    again: bool = False

    def trades(self) -> list[Trade]:
        """Its trades, whatever the form. Raises StoreError where it is damaged."""
        return read_trades(self.fields)


class Consumer:
    """One member of a group. For one thread; any number of members and groups run side by side.
    Methods raise StoreError where Redis is away: call again, nothing is lost by it."""

    def __init__(
        self,
        url: str,
        streams: Iterable[str],
        group: str,
        name: str,
        *,
        start: str = "0",
        count: int = 100,
        idle_ms: int = 30_000,
        alone: bool = True,
    ) -> None:
        """streams   full names, such as trades:btcusdt
        name      of this member: come back under the same one after a death
        start     where a group begins that does not exist yet: "0" what is kept, "$" what comes
        count     entries a read and stream
        idle_ms   how long another member's entries lie before this one takes them over
        alone     whether the group has this one member. With several, each gets a part of the
                  entries, so that jumps in the numbers mean nothing and `lost` tells only of
                  entries that were trimmed while pending"""
        retry = Retry(NoBackoff(), 0)
        # redis-py's types allow answers of a cluster and of text; this is neither.
        self._client: Any = redis.Redis.from_url(url, socket_timeout=10.0, retry=retry)
        self.streams = tuple(streams)
        self.group, self.name = group, name
        self._start, self._count, self._idle_ms, self._alone = start, count, idle_ms, alone
        self._seen: dict[str, int] = {}
        self._own: dict[str, str] = {}
        self._trimmed: dict[str, int] = {}
        self._joined = False

    def read(self, block_ms: int = 1000) -> list[Entry]:
        """The next entries, oldest first within a stream: first what this member had not
        acknowledged when it last ended, then what others left lying, then what is new, for which
        it waits up to `block_ms` (below 10 s). [] where nothing came."""
        try:
            if not self._joined:
                self._join()
            return self._left_by_us() or self._left_by_others() or self._new(block_ms)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise StoreError(f"Redis refused: {error}") from error
            self._joined = False  # the server came back empty: the group begins anew
            return []
        except redis.RedisError as error:
            self._joined = False  # what was on its way to us is pending
            raise StoreError(f"Redis is away: {error}") from error

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """These are done with and will not come again."""
        if not entries:
            return
        pipe = self._client.pipeline(transaction=False)
        for stream in dict.fromkeys(entry.stream for entry in entries):
            pipe.xack(stream, self.group, *[e.id for e in entries if e.stream == stream])
        if self._alone:
            pipe.hset(self._seen_key, mapping=dict(self._seen))
        try:
            pipe.execute()
        except redis.RedisError as error:
            raise StoreError(f"Redis is away: {error}") from error

    def pending(self) -> int:
        """How many entries of the group are taken and not acknowledged, by any member."""
        try:
            return sum(self._client.xpending(s, self.group)["pending"] for s in self.streams)
        except redis.RedisError as error:
            raise StoreError(f"Redis is away: {error}") from error

    def close(self) -> None:
        """Close the connection; what is pending stays pending."""
        self._client.close()

    @property
    def _seen_key(self) -> str:
        return f"{self.streams[0]}:seen:{self.group}"

    def _join(self) -> None:
        for stream in self.streams:
            try:
                self._client.xgroup_create(stream, self.group, id=self._start, mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        if self._alone:
            stored = self._client.hgetall(self._seen_key)
            self._seen = {stream.decode(): int(no) for stream, no in stored.items()}
        self._own = dict.fromkeys(self.streams, "0")
        self._joined = True

    def _left_by_us(self) -> list[Entry]:
        """What this member took and did not acknowledge, from where it stands in that list."""
        while self._own:
            answer = self._client.xreadgroup(self.group, self.name, dict(self._own), self._count)
            found: list[Entry] = []
            rest: dict[str, str] = {}
            for stream, entries in _shaped(answer):
                if entries:
                    rest[stream] = entries[-1][0].decode()
                    found += self._told(stream, entries, again=True)
            self._own = rest
            if found:
                return found
        return []

    def _left_by_others(self) -> list[Entry]:
        found: list[Entry] = []
        for stream in self.streams:
            answer = self._client.execute_command(
                "XAUTOCLAIM", stream, self.group, self.name, self._idle_ms, "0-0",
                "COUNT", self._count,
            )  # fmt: skip
            # 6.2 hands out trimmed entries as nothing, 7 names their ids in a third part.
            entries = [each for each in answer[1] if each and each[1] is not None]
            gone = len(answer[1]) - len(entries) + (len(answer[2]) if len(answer) > 2 else 0)
            self._trimmed[stream] = self._trimmed.get(stream, 0) + gone
            found += self._told(stream, entries, again=True)
        return found

    def _new(self, block_ms: int) -> list[Entry]:
        wanted = dict.fromkeys(self.streams, NEW)
        answer = self._client.xreadgroup(
            self.group, self.name, wanted, self._count, block=max(1, block_ms)
        )
        return [e for stream, entries in _shaped(answer) for e in self._told(stream, entries)]

    def _told(self, stream: str, entries: Sequence[Any], again: bool = False) -> list[Entry]:
        out: list[Entry] = []
        for entry, fields in entries:
            if fields is None or not fields:  # trimmed while it was pending
                self._trimmed[stream] = self._trimmed.get(stream, 0) + 1
                continue
            first, n = numbers_of(fields)
            lost = self._trimmed.pop(stream, 0)
            if self._alone and first > 0:
                seen = self._seen.get(stream, first - 1)
                lost = max(0, first - seen - 1)
                # Numbers that begin anew without being old entries: the store came back empty.
                self._seen[stream] = max(seen, first + n - 1) if again else first + n - 1
            out.append(Entry(stream, entry.decode(), fields, lost, again))
        return out


def _shaped(answer: Any) -> list[tuple[str, list[Any]]]:
    """[(stream, entries)] of an XREADGROUP, in either protocol's shape."""
    if isinstance(answer, dict):
        return [(s.decode(), [e for batch in b for e in batch]) for s, b in answer.items()]
    return [(stream.decode(), entries) for stream, entries in answer or []]
