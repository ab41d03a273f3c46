"""Keys, values and expiry of the simulated server, and its commands on text and hashes."""

from collections.abc import Callable
from typing import TypeVar

from tests.simulation.redis_values import (
    OK,
    PONG,
    SYNTAX,
    WRONG_TYPE,
    RedisError,
    ScoredSet,
    SimReply,
    Status,
    Stream,
    Value,
    integer,
)

V = TypeVar("V")
Handler = Callable[["Keyspace", list[bytes]], SimReply]
OnJob = Callable[[bytes, dict[bytes, bytes], dict[bytes, bytes]], None]

JOB: bytes = b"job:meta:"


class Keyspace:
    """All keys. `on_job` hears of every write to a job's record: key, the fields written, the record before."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.values: dict[bytes, Value] = {}
        self.expires: dict[bytes, float] = {}
        self.on_job: OnJob | None = None

    def millis(self) -> int:
        return int(self._now() * 1000)

    def get(self, key: bytes, kind: type[V]) -> V | None:
        """The value of a key, None when there is none. Raises RedisError when it is of another type."""
        value = self.peek(key)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise RedisError(WRONG_TYPE)
        return value

    def peek(self, key: bytes) -> "Value | None":
        ends = self.expires.get(key)
        if ends is not None and ends <= self._now():
            self.drop(key)
        return self.values.get(key)

    def make(self, key: bytes, kind: type[V]) -> V:
        value = self.get(key, kind)
        if value is None:
            value = kind()
            self.values[key] = value  # type: ignore[assignment]  # the kinds are those of Value
        return value

    def drop(self, key: bytes) -> bool:
        self.expires.pop(key, None)
        return self.values.pop(key, None) is not None

    def drop_empty(self, key: bytes, value: dict[bytes, bytes] | ScoredSet | set[bytes] | list[bytes]) -> None:
        if not value:
            self.drop(key)

    def expire(self, key: bytes, seconds: float) -> int:
        if self.peek(key) is None:
            return 0
        if seconds <= 0:
            self.drop(key)
        else:
            self.expires[key] = self._now() + seconds
        return 1

    def table(self) -> dict[bytes, Handler]:
        return dict(_TABLE)


def _ping(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return PONG


def _get(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return keys.get(parts[1], bytes)


def _mget(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return [value if isinstance(value := keys.peek(key), bytes) else None for key in parts[1:]]


def _getdel(keys: Keyspace, parts: list[bytes]) -> SimReply:
    value = keys.get(parts[1], bytes)
    keys.drop(parts[1])
    return value


def _set(keys: Keyspace, parts: list[bytes]) -> SimReply:
    key, words = parts[1], [word.upper() for word in parts[3:]]
    at, seconds, only, want_old, keep = 0, None, b"", False, False
    while at < len(words):
        word = words[at]
        if word in (b"EX", b"PX"):
            if at + 1 >= len(words):
                raise RedisError(SYNTAX)
            amount = integer(words[at + 1])
            if amount <= 0:
                raise RedisError("ERR invalid expire time in 'set' command")
            seconds = amount if word == b"EX" else amount / 1000
            at += 1
        elif word in (b"NX", b"XX"):
            only = word
        elif word == b"GET":
            want_old = True
        elif word == b"KEEPTTL":
            keep = True
        else:
            raise RedisError(SYNTAX)
        at += 1
    old = keys.get(key, bytes) if want_old else None
    there = keys.peek(key) is not None
    if (only == b"NX" and there) or (only == b"XX" and not there):
        return old
    keys.values[key] = parts[2]
    if seconds is not None:
        keys.expires[key] = keys._now() + seconds
    elif not keep:
        keys.expires.pop(key, None)
    return old if want_old else OK


def _getrange(keys: Keyspace, parts: list[bytes]) -> SimReply:
    value = keys.get(parts[1], bytes) or b""
    first, last = integer(parts[2]), integer(parts[3])
    if first < 0 and last < 0 and first > last:
        return b""
    # Unlike with lists, an end before the beginning is the beginning.
    first, last = (max(0, place + len(value) if place < 0 else place) for place in (first, last))
    return value[first : last + 1]


def _strlen(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(keys.get(parts[1], bytes) or b"")


def _incrby(keys: Keyspace, parts: list[bytes]) -> SimReply:
    by = integer(parts[2]) if len(parts) > 2 else 1
    held = keys.get(parts[1], bytes)
    value = integer(b"0" if held is None else held) + (-by if parts[0].upper().startswith(b"DECR") else by)
    keys.values[parts[1]] = b"%d" % value
    return value


def _del(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return sum(keys.peek(key) is not None and keys.drop(key) for key in parts[1:])


def _exists(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return sum(keys.peek(key) is not None for key in parts[1:])


def _type(keys: Keyspace, parts: list[bytes]) -> SimReply:
    value = keys.peek(parts[1])
    names = ((bytes, "string"), (ScoredSet, "zset"), (dict, "hash"), (set, "set"), (list, "list"), (Stream, "stream"))
    return Status(next((name for kind, name in names if isinstance(value, kind)), "none").encode())


def _expire(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return keys.expire(parts[1], integer(parts[2]))


def _pexpire(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return keys.expire(parts[1], integer(parts[2]) / 1000)


def _expireat(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return keys.expire(parts[1], integer(parts[2]) - keys._now())


def _pexpireat(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return keys.expire(parts[1], integer(parts[2]) / 1000 - keys._now())


def _persist(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return int(keys.peek(parts[1]) is not None and keys.expires.pop(parts[1], None) is not None)


def _ttl(keys: Keyspace, parts: list[bytes]) -> SimReply:
    if keys.peek(parts[1]) is None:
        return -2
    ends = keys.expires.get(parts[1])
    return -1 if ends is None else round(ends - keys._now())


def _pttl(keys: Keyspace, parts: list[bytes]) -> SimReply:
    if keys.peek(parts[1]) is None:
        return -2
    ends = keys.expires.get(parts[1])
    return -1 if ends is None else round((ends - keys._now()) * 1000)


# Hashes


def _hash(keys: Keyspace, key: bytes) -> dict[bytes, bytes]:
    value = keys.get(key, dict)
    if isinstance(value, ScoredSet):
        raise RedisError(WRONG_TYPE)
    return value if value is not None else {}


def _hset(keys: Keyspace, parts: list[bytes]) -> SimReply:
    key = parts[1]
    if len(parts) < 4 or len(parts) % 2:
        raise RedisError("ERR wrong number of arguments for 'hset' command")
    known = _hash(keys, key)
    fields = dict(zip(parts[2::2], parts[3::2], strict=True))
    if keys.on_job is not None and key.startswith(JOB):
        keys.on_job(key, fields, known)
    added = len(fields.keys() - known.keys())
    known.update(fields)
    keys.values[key] = known
    return added


def _hsetnx(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = _hash(keys, parts[1])
    if parts[2] in known:
        return 0
    known[parts[2]] = parts[3]
    keys.values[parts[1]] = known
    return 1


def _hget(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return _hash(keys, parts[1]).get(parts[2])


def _hmget(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = _hash(keys, parts[1])
    return [known.get(name) for name in parts[2:]]


def _hgetall(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return [part for pair in _hash(keys, parts[1]).items() for part in pair]


def _hdel(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = _hash(keys, parts[1])
    gone = sum(known.pop(name, None) is not None for name in parts[2:])
    keys.drop_empty(parts[1], known)
    return gone


def _hlen(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(_hash(keys, parts[1]))


def _hexists(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return int(parts[2] in _hash(keys, parts[1]))


def _hincrby(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = _hash(keys, parts[1])
    value = integer(known.get(parts[2], b"0")) + integer(parts[3])
    known[parts[2]] = b"%d" % value
    keys.values[parts[1]] = known
    return value


_TABLE: dict[bytes, Handler] = {
    b"PING": _ping,
    b"GET": _get,
    b"MGET": _mget,
    b"GETDEL": _getdel,
    b"SET": _set,
    b"GETRANGE": _getrange,
    b"STRLEN": _strlen,
    b"INCR": _incrby,
    b"INCRBY": _incrby,
    b"DECR": _incrby,
    b"DECRBY": _incrby,
    b"DEL": _del,
    b"UNLINK": _del,
    b"EXISTS": _exists,
    b"TYPE": _type,
    b"EXPIRE": _expire,
    b"PEXPIRE": _pexpire,
    b"EXPIREAT": _expireat,
    b"PEXPIREAT": _pexpireat,
    b"PERSIST": _persist,
    b"TTL": _ttl,
    b"PTTL": _pttl,
    b"HSET": _hset,
    b"HSETNX": _hsetnx,
    b"HGET": _hget,
    b"HMGET": _hmget,
    b"HGETALL": _hgetall,
    b"HDEL": _hdel,
    b"HLEN": _hlen,
    b"HEXISTS": _hexists,
    b"HINCRBY": _hincrby,
}
