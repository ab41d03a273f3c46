"""Sets, lists and streams of the simulated server."""

from typing import Final

from tests.simulation.redis_commands import Handler, Keyspace
from tests.simulation.redis_values import OK, RedisError, SimReply, Stream, integer, span, stream_id

# Sets. Redis promises no order of members; ours is sorted, so that a seed always sees the same.


def _sadd(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.make(parts[1], set)
    before = len(known)
    known.update(parts[2:])
    return len(known) - before


def _srem(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.get(parts[1], set)
    if known is None:
        return 0
    before = len(known)
    known.difference_update(parts[2:])
    gone = before - len(known)
    keys.drop_empty(parts[1], known)
    return gone


def _scard(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(keys.get(parts[1], set) or ())


def _smembers(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return sorted(keys.get(parts[1], set) or ())


def _sismember(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return int(parts[2] in (keys.get(parts[1], set) or ()))


# Lists


def _rpush(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.make(parts[1], list)
    known.extend(parts[2:])
    return len(known)


def _lpush(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.make(parts[1], list)
    known[:0] = parts[:1:-1]
    return len(known)


def _lrange(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.get(parts[1], list) or []
    first, last = span(integer(parts[2]), integer(parts[3]), len(known))
    return known[first:last]


def _lindex(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known, at = keys.get(parts[1], list) or [], integer(parts[2])
    return known[at] if -len(known) <= at < len(known) else None


def _lpos(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.get(parts[1], list) or []
    return known.index(parts[2]) if parts[2] in known else None


def _llen(keys: Keyspace, parts: list[bytes]) -> SimReply:
    return len(keys.get(parts[1], list) or ())


def _ltrim(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known = keys.get(parts[1], list)
    if known is not None:
        first, last = span(integer(parts[2]), integer(parts[3]), len(known))
        known[:] = known[first:last]
        keys.drop_empty(parts[1], known)
    return OK


def _lrem(keys: Keyspace, parts: list[bytes]) -> SimReply:
    known, count, gone = keys.get(parts[1], list), integer(parts[2]), 0
    if known is None:
        return 0
    places = [at for at, item in enumerate(known) if item == parts[3]]
    if count < 0:
        places.reverse()
    for at in sorted(places[: abs(count)] if count else places, reverse=True):
        del known[at]
        gone += 1
    keys.drop_empty(parts[1], known)
    return gone


# Streams


def _xadd(keys: Keyspace, parts: list[bytes]) -> SimReply:
    if parts[2] != b"*":
        raise RedisError("ERR the simulation gives ids itself")
    stream = keys.make(parts[1], Stream)
    stream.last = max((keys.millis(), 0), (stream.last[0], stream.last[1] + 1))
    stream.entries.append((stream.last, parts[3:]))
    return b"%d-%d" % stream.last


def _xtrim(keys: Keyspace, parts: list[bytes]) -> SimReply:
    stream = keys.get(parts[1], Stream)
    if stream is None:
        return 0
    # With `~` a server may keep more than asked, in nodes of a hundred entries; we keep all of the last hundred.
    threshold, about = parts[-1], parts[3] == b"~"
    before = len(stream.entries)
    if parts[2].upper() == b"MINID":
        oldest = stream_id(threshold, 0)
        surplus = sum(entry_id < oldest for entry_id, _ in stream.entries)
    else:
        surplus = max(0, before - integer(threshold))
    if about:
        surplus -= surplus % 100
    del stream.entries[:surplus]
    return before - len(stream.entries)


def _xlen(keys: Keyspace, parts: list[bytes]) -> SimReply:
    stream = keys.get(parts[1], Stream)
    return len(stream.entries) if stream is not None else 0


def _xrange(keys: Keyspace, parts: list[bytes]) -> SimReply:
    newest_first = parts[0].upper() == b"XREVRANGE"
    stream = keys.get(parts[1], Stream)
    low, high = (parts[3], parts[2]) if newest_first else (parts[2], parts[3])
    first, first_in = _stream_bound(low, lowest=True)
    last, last_in = _stream_bound(high, lowest=False)
    found = [
        (entry_id, fields)
        for entry_id, fields in (stream.entries if stream is not None else ())
        if (entry_id >= first if first_in else entry_id > first) and (entry_id <= last if last_in else entry_id < last)
    ]
    if newest_first:
        found.reverse()
    if len(parts) > 5:
        found = found[: integer(parts[5])]
    return [[b"%d-%d" % entry_id, list(fields)] for entry_id, fields in found]


def _stream_bound(text: bytes, *, lowest: bool) -> tuple[tuple[int, int], bool]:
    if text == b"-":
        return (0, 0), True
    if text == b"+":
        return (2**63, 2**63), True
    inclusive = not text.startswith(b"(")
    return stream_id(text.lstrip(b"("), 0 if lowest else 2**63), inclusive


COLLECTIONS: Final[dict[bytes, Handler]] = {
    b"SADD": _sadd,
    b"SREM": _srem,
    b"SCARD": _scard,
    b"SMEMBERS": _smembers,
    b"SISMEMBER": _sismember,
    b"RPUSH": _rpush,
    b"LPUSH": _lpush,
    b"LRANGE": _lrange,
    b"LINDEX": _lindex,
    b"LLEN": _llen,
    b"LPOS": _lpos,
    b"LTRIM": _ltrim,
    b"LREM": _lrem,
    b"XADD": _xadd,
    b"XTRIM": _xtrim,
    b"XLEN": _xlen,
    b"XRANGE": _xrange,
    b"XREVRANGE": _xrange,
}
