"""Sorted sets of the simulated server."""

from typing import Final

from tests.simulation.redis_commands import Handler, Keyspace
from tests.simulation.redis_values import (
    SYNTAX,
    RedisError,
    ScoredSet,
    SimReply,
    bound,
    integer,
    limited,
    number,
    shown,
    span,
    within,
)

_FLAGS: Final = frozenset((b"NX", b"XX", b"GT", b"LT", b"CH"))


def _zadd(keys: Keyspace, parts: list[bytes]) -> SimReply:
    at, flags = 2, set()
    while parts[at].upper() in _FLAGS:
        flags.add(parts[at].upper())
        at += 1
    entries = parts[at:]
    if not entries or len(entries) % 2:
        raise RedisError(SYNTAX)
    scores = [number(text) for text in entries[::2]]
    known = keys.get(parts[1], ScoredSet)
    if known is None:
        known = ScoredSet()
    added = changed = 0
    for score, member in zip(scores, entries[1::2], strict=True):
        before = known.get(member)
        if before is None:
            if b"XX" in flags:
                continue
            added += 1
        else:
            if b"NX" in flags or (b"GT" in flags and score <= before) or (b"LT" in flags and score >= before):
                continue
            changed += score != before
        known[member] = score
    if known:
        keys.values[parts[1]] = known
    return added + changed if b"CH" in flags else added


def _zincrby(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.make(parts[1], ScoredSet)
    known[parts[3]] = known.get(parts[3], 0.0) + number(parts[2])
    return shown(known[parts[3]])


def _remove(keys: Keyspace, key: bytes, members: list[bytes]) -> int:
    known = keys.get(key, ScoredSet)
    if known is None:
        return 0
    gone = sum(known.pop(member, None) is not None for member in members)
    keys.drop_empty(key, known)
    return gone


def _zrem(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return _remove(keys, parts[1], parts[2:])


def _zcard(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(keys.get(parts[1], ScoredSet) or ())


def _zscore(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.get(parts[1], ScoredSet)
    score = known.get(parts[2]) if known is not None else None
    return None if score is None else shown(score)


def _zrank(keys: Keyspace, parts: list[bytes]) -> SimReply:
    ordered = [member for member, _ in _ordered(keys, parts[1])]
    return ordered.index(parts[2]) if parts[2] in ordered else None


def _ordered(keys: Keyspace, key: bytes) -> list[tuple[bytes, float]]:
    known = keys.get(key, ScoredSet)
    return known.ordered() if known is not None else []


def _between(keys: Keyspace, key: bytes, low: bytes, high: bytes) -> list[tuple[bytes, float]]:
    first, last = bound(low), bound(high)
    return [entry for entry in _ordered(keys, key) if within(entry[1], first, last)]


def _listed(found: list[tuple[bytes, float]], options: list[bytes]) -> SimReply:
    words, at, scores = [word.upper() for word in options], 0, False
    chosen = list(found)
    while at < len(words):
        if words[at] == b"WITHSCORES":
            scores = True
            at += 1
        elif words[at] == b"LIMIT" and at + 2 < len(words):
            chosen = list(limited(chosen, integer(words[at + 1]), integer(words[at + 2])))
            at += 3
        else:
            raise RedisError(SYNTAX)
    if not scores:
        return [member for member, _ in chosen]
    return [part for member, score in chosen for part in (member, shown(score))]


def _zrange(keys: Keyspace, parts: list[bytes]) -> SimReply:
    words = {word.upper() for word in parts[4:]}
    if words & {b"BYSCORE", b"BYLEX", b"REV"}:
        raise RedisError(SYNTAX)
    ordered = _ordered(keys, parts[1])
    first, last = span(integer(parts[2]), integer(parts[3]), len(ordered))
    return _listed(ordered[first:last], parts[4:])


def _zrevrange(keys: Keyspace, parts: list[bytes]) -> SimReply:
    ordered = _ordered(keys, parts[1])[::-1]
    first, last = span(integer(parts[2]), integer(parts[3]), len(ordered))
    return _listed(ordered[first:last], parts[4:])


def _zrangebyscore(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return _listed(_between(keys, parts[1], parts[2], parts[3]), parts[4:])


def _zrevrangebyscore(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return _listed(_between(keys, parts[1], parts[3], parts[2])[::-1], parts[4:])


def _zcount(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(_between(keys, parts[1], parts[2], parts[3]))


def _zremrangebyscore(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return _remove(keys, parts[1], [member for member, _ in _between(keys, parts[1], parts[2], parts[3])])


def _zremrangebyrank(keys: Keyspace, parts: list[bytes]) -> SimReply:
    ordered = _ordered(keys, parts[1])
    first, last = span(integer(parts[2]), integer(parts[3]), len(ordered))
    return _remove(keys, parts[1], [member for member, _ in ordered[first:last]])


ZSETS: Final[dict[bytes, Handler]] = {
    b"ZADD": _zadd,
    b"ZINCRBY": _zincrby,
    b"ZREM": _zrem,
    b"ZCARD": _zcard,
    b"ZSCORE": _zscore,
    b"ZRANK": _zrank,
    b"ZRANGE": _zrange,
    b"ZREVRANGE": _zrevrange,
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"ZREVRANGEBYSCORE": _zrevrangebyscore,
    b"ZCOUNT": _zcount,
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
    b"ZREMRANGEBYRANK": _zremrangebyrank,
}
