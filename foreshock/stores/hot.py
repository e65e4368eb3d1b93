"""The hot store: what is true now, the stream of signals, cost tables and locks, in Redis.

Keys, all behind `prefix` (none by default; JSON by orjson):

    signals                stream  {"verdict": JSON, "no": number}; each id enters once, however
                                   often it is sent
    foreshock:verdicts     hash    symbol → the latest verdict
    foreshock:market       hash    symbol → the latest market state (touch, book state, ages …)
    foreshock:costs        hash    "symbol tier" → cost table
    foreshock:notes        hash    name → bytes of whoever keeps something from boundary to boundary
    foreshock:signal:<id>, foreshock:lock:<name>   strings that expire: what was sent, who holds it
    foreshock:fence:<name> the last token of a lock

Streams of trades and vectors are the bus's (`foreshock.stores.bus`). Everything here stays within
the commands of Redis 6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import orjson
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from foreshock.errors import StoreError

Json = dict[str, Any]

_SENT_S: Final = 3600  # how long a signal's id is remembered
_ADD_ONCE: Final = """
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[3]) then
  local no = redis.call('INCR', KEYS[3])
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'verdict', ARGV[1], 'no', no)
end
return false
"""
# A token is greater than every one before it, also where the store came back empty: it is the
# server's clock in microseconds, or one more than the last.
_CLAIM: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'token')
if held[1] and held[1] ~= ARGV[1] then return false end
local token = held[2]
if not token then
  local now = redis.call('TIME')
  token = math.max(now[1] * 1000000 + now[2], (tonumber(redis.call('GET', KEYS[2])) or 0) + 1)
  token = string.format('%.0f', token)
  redis.call('SET', KEYS[2], token)
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', token)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return token
"""
_RELEASE: Final = """
return redis.call('HGET', KEYS[1], 'owner') == ARGV[1] and redis.call('DEL', KEYS[1])
"""
_FENCED: Final = """
if (tonumber(redis.call('GET', KEYS[2])) or 0) > tonumber(ARGV[3]) then return false end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class HotStore(Protocol):
    """What the rest of the house may ask of a hot store. Every method raises StoreError where the
    store cannot be reached or refuses."""

    def publish(
        self,
        *,
        verdicts: Iterable[Mapping[str, Any]] = (),
        market: Mapping[str, Mapping[str, Any]] | None = None,
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store all of it in one round trip.

        verdicts   `Verdict.as_dict()`s; those with "signal" true enter the stream of signals
        market     latest market state by symbol
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

    def put_costs(self, tables: Mapping[str, Mapping[str, Any]], tier: str = "default") -> None:
        """Store cost tables by symbol, of one tier of fees."""
        ...

    def costs(self, tier: str = "default") -> dict[str, Json]:
        """Cost tables of a tier by symbol."""
        ...

    def claim(self, name: str, owner: str, seconds: float) -> int | None:
        """Take the lock `name` for so long; None where another owner holds it. The same owner
        claims again to prolong. The answer is the fencing token: greater than that of every holder
        before, the same for one holder."""
        ...

    def release(self, name: str, owner: str) -> bool:
        """Give a lock back; False where this owner does not hold it."""
        ...

    def put_note_fenced(self, name: str, body: bytes, lock: str, token: int) -> bool:
        """Write a note under a lock's token; False, and nothing is written, where the lock has
        been taken by another since: whoever lost it while it slept does no harm."""
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
        prefix: str = "",
        stream_length: int = 10_000,
        timeout_s: float = 5.0,
    ) -> None:
        """Nothing is sent yet: a server that is down shows at the first call."""
        retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), 3)
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, retry=retry)
        self._prefix, self._signals = prefix, f"{prefix}signals"
        self._length = stream_length

    def publish(
        self,
        *,
        verdicts: Iterable[Mapping[str, Any]] = (),
        market: Mapping[str, Mapping[str, Any]] | None = None,
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
                keys = (self._signals, self._key(f"signal:{verdict['id']}"), self._key("signals"))
                pipe.eval(_ADD_ONCE, 3, *keys, body, self._length, _SENT_S)
        if latest:
            pipe.hset(self._key("verdicts"), mapping=latest)
        if market:
            states: dict[Any, Any] = {
                symbol: orjson.dumps(state) for symbol, state in market.items()
            }
            pipe.hset(self._key("market"), mapping=states)
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
        entries = self._behind(after, count, block_ms)
        return [(entry, orjson.loads(fields[b"verdict"])) for entry, fields in entries]

    def last_signals(self, count: int = 100) -> list[Json]:
        """See `HotStore.last_signals`."""
        entries = self._ask("XREVRANGE", self._signals, "+", "-", "COUNT", count)
        return [orjson.loads(fields[b"verdict"]) for _, fields in entries]

    def put_costs(self, tables: Mapping[str, Mapping[str, Any]], tier: str = "default") -> None:
        """See `HotStore.put_costs`."""
        if tables:
            flat = [
                part
                for symbol, table in tables.items()
                for part in (f"{symbol} {tier}", orjson.dumps(table))
            ]
            self._ask("HSET", self._key("costs"), *flat)

    def costs(self, tier: str = "default") -> dict[str, Json]:
        """See `HotStore.costs`."""
        tables = self._hash("costs").items()
        return {
            field.partition(" ")[0]: table
            for field, table in tables
            if field.partition(" ")[2] == tier
        }

    def claim(self, name: str, owner: str, seconds: float) -> int | None:
        """See `HotStore.claim`."""
        keys = self._key(f"lock:{name}"), self._key(f"fence:{name}")
        token = self._ask("EVAL", _CLAIM, 2, *keys, owner, max(1, round(seconds * 1000)))
        return None if token is None else int(token)

    def release(self, name: str, owner: str) -> bool:
        """See `HotStore.release`."""
        return bool(self._ask("EVAL", _RELEASE, 1, self._key(f"lock:{name}"), owner))

    def put_note_fenced(self, name: str, body: bytes, lock: str, token: int) -> bool:
        """See `HotStore.put_note_fenced`."""
        keys = self._key("notes"), self._key(f"fence:{lock}")
        return bool(self._ask("EVAL", _FENCED, 2, *keys, name, body, token))

    def ping(self) -> None:
        """See `HotStore.ping`."""
        self._ask("PING")

    def close(self) -> None:
        """See `HotStore.close`."""
        self._client.close()

    def _key(self, name: str) -> str:
        return f"{self._prefix}foreshock:{name}"

    def _execute(self, pipe: Any) -> None:
        try:
            answers = pipe.execute(raise_on_error=False)
        except redis.RedisError as error:
            raise StoreError(f"Redis refused: {error}") from error
        for answer in answers:
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
        self, after: str, count: int, block_ms: int = 0
    ) -> list[tuple[str, dict[bytes, bytes]]]:
        if block_ms:
            start = "0" if after == "-" else after
            answer = self._ask(
                "XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self._signals, start
            )  # fmt: skip
            entries = _only_stream(answer)
        else:
            start = "-" if after == "-" else f"({after}"
            entries = self._ask("XRANGE", self._signals, start, "+", "COUNT", count)
        return [(entry.decode(), fields) for entry, fields in entries if fields is not None]


def _only_stream(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of an XREAD of one stream, in either protocol's shape; [] where none came."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        return [entry for batch in entries for entry in batch]
    return list(answer[0][1])
