"""The hot store: what is true now, and streams of what was just said, in Redis.

Keys (all under `prefix`, default "foreshock:"; JSON by orjson):

    verdicts          hash    symbol → the latest verdict
    market            hash    symbol → the latest market state (touch, book state, ages …)
    costs             hash    symbol → cost table
    notes             hash    name → bytes of whoever keeps something from boundary to boundary
    signals           stream  {"verdict": JSON}; each id enters once, however often it is sent
    features:<symbol> stream  one entry per boundary, see `hot_layout.pack_vector`
    trades:<symbol>   stream  one entry per micro-batch, see `hot_layout.pack_trades`
    signal:<id>, lock:<name>   strings that expire: what was sent, and who holds a lock

Streams are bounded (`stream_length`, trimmed approximately). Entries of features and trades carry
an explicit id made of the boundary or of the last trade's arrival and seq, which Redis refuses to
take twice: a batch that is sent again after a failure is counted once.

Everything here stays within the commands of Redis 6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson
import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from foreshock.errors import StoreError
from foreshock.market.clock import MS_NS
from foreshock.market.rows import TRADE, Rows
from foreshock.stores.hot_layout import (
    ClosedBoundary,
    StoredVector,
    pack_trades,
    pack_vector,
    unpack_trades,
    unpack_vector,
)

Json = dict[str, Any]

_SENT_S: Final = 3600  # how long a signal's id is remembered
_ADD_ONCE: Final = """
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[3]) then
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'verdict', ARGV[1])
end
return false
"""


class HotStore(Protocol):
    """What the rest of the house may ask of a hot store. Every method raises StoreError where the
    store cannot be reached or refuses."""

    def publish(
        self,
        *,
        verdicts: Iterable[Mapping[str, Any]] = (),
        market: Mapping[str, Mapping[str, Any]] | None = None,
        trades: Mapping[str, Rows] | None = None,
        boundary: ClosedBoundary | None = None,
        symbols: Sequence[str] = (),
        fingerprint: str = "",
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store all of it in one round trip.

        verdicts   `Verdict.as_dict()`s; those with "signal" true enter the stream of signals
        market     latest market state by symbol
        trades     TRADE rows by symbol
        boundary, symbols, fingerprint   vectors of n symbols and the layout's fingerprint
        notes      written last, so that they never speak of what is not stored"""
        ...

    def verdicts(self) -> dict[str, Json]:
        """The latest verdict of each symbol."""
        ...

    def market(self) -> dict[str, Json]:
        """The latest market state of each symbol."""
        ...

    def note(self, name: str) -> bytes | None:
        """What was noted last under this name."""
        ...

    def signals(
        self, after: str = "-", count: int = 1000, block_ms: int = 0
    ) -> list[tuple[str, Json]]:
        """(entry id, verdict) of signals behind the entry `after`, oldest first; "-" begins at the
        oldest kept, "$" at now. With `block_ms` it waits so long for the first of them."""
        ...

    def last_signals(self, count: int = 100) -> list[Json]:
        """The newest signals, newest first."""
        ...

    def trades(self, symbol: str, after: str = "-", count: int = 1000) -> list[tuple[str, Rows]]:
        """(entry id, TRADE rows) behind the entry `after`, oldest first."""
        ...

    def features(
        self, symbol: str, after: str = "-", count: int = 1000
    ) -> list[tuple[str, StoredVector]]:
        """(entry id, vector) behind the entry `after`, oldest first."""
        ...

    def put_costs(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Store cost tables by symbol."""
        ...

    def costs(self) -> dict[str, Json]:
        """Cost tables by symbol."""
        ...

    def claim(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lock `name` for so long; False where another owner holds it. The same owner
        claims again to prolong."""
        ...

    def release(self, name: str, owner: str) -> bool:
        """Give a lock back; False where this owner does not hold it."""
        ...

    def ping(self) -> None:
        """Raises StoreError unless the store answers."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class RedisHot:
    """The hot store on a Redis server, 6.2 or later. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "foreshock:",
        stream_length: int = 10_000,
        timeout_s: float = 5.0,
    ) -> None:
        """Nothing is sent yet: a server that is down shows at the first call."""
        retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), 3)
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, retry=retry)
        self._prefix = prefix
        self._length = stream_length

    def publish(
        self,
        *,
        verdicts: Iterable[Mapping[str, Any]] = (),
        market: Mapping[str, Mapping[str, Any]] | None = None,
        trades: Mapping[str, Rows] | None = None,
        boundary: ClosedBoundary | None = None,
        symbols: Sequence[str] = (),
        fingerprint: str = "",
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        """See `HotStore.publish`."""
        pipe = self._client.pipeline(transaction=False)
        latest: dict[Any, Any] = {}
        for verdict in verdicts:
            body = orjson.dumps(verdict)
            if verdict["reason"] != "duplicate":  # a redelivery is no news
                latest[verdict["symbol"]] = body
            if verdict["signal"]:
                keys = (self._key("signals"), self._key(f"signal:{verdict['id']}"))
                pipe.eval(_ADD_ONCE, 2, *keys, body, self._length, _SENT_S)
        if latest:
            pipe.hset(self._key("verdicts"), mapping=latest)
        if market:
            states: dict[Any, Any] = {
                symbol: orjson.dumps(state) for symbol, state in market.items()
            }
            pipe.hset(self._key("market"), mapping=states)
        for symbol, rows in (trades or {}).items():
            if len(rows):
                self._add_trades(pipe, symbol, rows)
        if boundary is not None:
            for i, symbol in enumerate(symbols):
                fields = pack_vector(boundary, i, fingerprint)
                self._add(pipe, f"features:{symbol}", fields, f"{boundary.boundary_ns // MS_NS}-0")
        for name, body in (notes or {}).items():
            pipe.hset(self._key("notes"), name, body)
        if pipe.command_stack:
            self._execute(pipe)

    def verdicts(self) -> dict[str, Json]:
        """See `HotStore.verdicts`."""
        return self._hash("verdicts")

    def market(self) -> dict[str, Json]:
        """See `HotStore.market`."""
        return self._hash("market")

    def note(self, name: str) -> bytes | None:
        """See `HotStore.note`."""
        found: bytes | None = self._ask("HGET", self._key("notes"), name)
        return found

    def signals(
        self, after: str = "-", count: int = 1000, block_ms: int = 0
    ) -> list[tuple[str, Json]]:
        """See `HotStore.signals`. `block_ms` must stay below the timeout of the connection."""
        entries = self._behind("signals", after, count, block_ms)
        return [(entry, orjson.loads(fields[b"verdict"])) for entry, fields in entries]

    def last_signals(self, count: int = 100) -> list[Json]:
        """See `HotStore.last_signals`."""
        entries = self._ask("XREVRANGE", self._key("signals"), "+", "-", "COUNT", count)
        return [orjson.loads(fields[b"verdict"]) for _, fields in entries]

    def trades(self, symbol: str, after: str = "-", count: int = 1000) -> list[tuple[str, Rows]]:
        """See `HotStore.trades`."""
        entries = self._behind(f"trades:{symbol}", after, count)
        return [(entry, unpack_trades(fields[b"rows"])) for entry, fields in entries]

    def features(
        self, symbol: str, after: str = "-", count: int = 1000
    ) -> list[tuple[str, StoredVector]]:
        """See `HotStore.features`."""
        entries = self._behind(f"features:{symbol}", after, count)
        return [(entry, unpack_vector(fields)) for entry, fields in entries]

    def put_costs(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """See `HotStore.put_costs`."""
        if tables:
            flat = [part for s, table in tables.items() for part in (s, orjson.dumps(table))]
            self._ask("HSET", self._key("costs"), *flat)

    def costs(self) -> dict[str, Json]:
        """See `HotStore.costs`."""
        return self._hash("costs")

    def claim(self, name: str, owner: str, seconds: float) -> bool:
        """See `HotStore.claim`."""
        key, milliseconds = self._key(f"lock:{name}"), max(1, round(seconds * 1000))
        if self._ask("SET", key, owner, "NX", "PX", milliseconds):
            return True
        prolong = (
            "return redis.call('GET', KEYS[1]) == ARGV[1]"
            " and redis.call('PEXPIRE', KEYS[1], ARGV[2])"
        )
        return bool(self._ask("EVAL", prolong, 1, key, owner, milliseconds))

    def release(self, name: str, owner: str) -> bool:
        """See `HotStore.release`."""
        drop = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"
        return bool(self._ask("EVAL", drop, 1, self._key(f"lock:{name}"), owner))

    def ping(self) -> None:
        """See `HotStore.ping`."""
        self._ask("PING")

    def close(self) -> None:
        """See `HotStore.close`."""
        self._client.close()

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _add_trades(self, pipe: Any, symbol: str, rows: Rows) -> None:
        if (rows["kind"] != TRADE).any():
            raise StoreError(f"trades:{symbol} takes TRADE rows only")
        last = rows[-1]
        entry = f"{int(last['arrival_ns']) // MS_NS}-{int(last['seq'])}"
        fields = {"n": len(rows), "rows": pack_trades(rows)}
        self._add(pipe, f"trades:{symbol}", fields, entry)

    def _add(self, pipe: Any, stream: str, fields: dict[str, Any], entry: str) -> None:
        pipe.xadd(self._key(stream), fields, id=entry, maxlen=self._length, approximate=True)

    def _execute(self, pipe: Any) -> None:
        try:
            answers = pipe.execute(raise_on_error=False)
        except redis.RedisError as error:
            raise StoreError(f"Redis refused: {error}") from error
        for answer in answers:
            if isinstance(answer, ResponseError) and "equal or smaller" in str(answer):
                continue  # this very entry, or a later one, is in the stream already
            if isinstance(answer, Exception):
                raise StoreError(f"Redis refused: {answer}") from answer

    def _ask(self, *command: Any) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            raise StoreError(f"Redis refused {command[0]}: {error}") from error

    def _hash(self, name: str) -> dict[str, Json]:
        stored = self._ask("HGETALL", self._key(name))
        return {key.decode(): orjson.loads(value) for key, value in stored.items()}

    def _behind(
        self, stream: str, after: str, count: int, block_ms: int = 0
    ) -> list[tuple[str, dict[bytes, bytes]]]:
        key = self._key(stream)
        if block_ms:
            start = "0" if after == "-" else after
            answer = self._ask(
                "XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", key, start
            )  # fmt: skip
            entries = _only_stream(answer)
        else:
            start = "-" if after == "-" else f"({after}"
            entries = self._ask("XRANGE", key, start, "+", "COUNT", count)
        return [(entry.decode(), fields) for entry, fields in entries if fields is not None]


def _only_stream(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of an XREAD of one stream, in either protocol's shape; [] where none came."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        return [entry for batch in entries for entry in batch]
    return list(answer[0][1])
