"""Any command at all, for comparing servers."""

from random import Random

from cordum.store.link import Command, Payload

KEYS = {"text": "s", "hash": "h", "set": "m", "list": "l", "zset": "z", "stream": "x"}


def any_command(random: Random) -> Command:
    """A command on one of a few keys, now and then on a key of another type."""

    def key(kind: str) -> str:
        name = KEYS[kind] if random.random() < 0.95 else random.choice(tuple(KEYS.values()))
        return f"{name}{random.randrange(2)}"

    def word() -> str:
        return random.choice(("a", "b", "c", "d", "ä", ""))

    def number() -> int:
        return random.randint(-3, 6)

    def edge() -> str | int:
        return random.choice(("-inf", "+inf", "(2", "(4", number(), 1_700_000_000_000_001))

    z, h, t, m, items, x = (key(kind) for kind in ("zset", "hash", "text", "set", "list", "stream"))
    limit = random.choice(((), ("LIMIT", random.randrange(3), number()), ("WITHSCORES",)))
    commands: tuple[Command, ...] = (
        ("GET", t),
        Payload(("GET", t)),
        ("SET", t, word()),
        ("SET", t, number()),
        ("SET", t, word(), "NX", "EX", 100),
        ("SET", t, word(), "XX", "PX", 100_000),
        ("SET", t, word(), "NX", "GET", "EX", 50),
        ("SET", t, word(), "KEEPTTL"),
        ("SET", t, word(), "EX", 0),
        ("SET", t, word(), "NOSUCH"),
        ("GETDEL", t),
        ("GETRANGE", t, number(), number()),
        ("STRLEN", t),
        ("INCR", t),
        ("MGET", t, h),
        ("DEL", random.choice((t, h, z, m, items, x))),
        ("EXISTS", t, h, z, z),
        ("TYPE", random.choice((t, h, z, m, items, x, "nothing"))),
        ("EXPIRE", random.choice((t, h, z)), random.choice((100, 1000, -1))),
        ("PEXPIRE", t, 100_000),
        ("PEXPIREAT", t, 4_000_000_000_000),
        ("PERSIST", t),
        ("TTL", t),
        ("HSET", h, word(), word(), word(), word()),
        ("HSET", h, word()),
        ("HSETNX", h, word(), word()),
        ("HGET", h, word()),
        ("HMGET", h, word(), word()),
        ("HDEL", h, word(), word()),
        ("HLEN", h),
        ("HEXISTS", h, word()),
        ("HINCRBY", h, "n", number()),
        ("HINCRBY", h, word(), 1),
        ("SADD", m, word(), word()),
        ("SREM", m, word()),
        ("SCARD", m),
        ("SMEMBERS", m),
        ("SISMEMBER", m, word()),
        ("RPUSH", items, word(), word()),
        ("LPUSH", items, word(), word()),
        ("LRANGE", items, number(), number()),
        ("LINDEX", items, number()),
        ("LLEN", items),
        ("LTRIM", items, number(), number()),
        ("LREM", items, number(), word()),
        ("LPOS", items, word()),
        ("ZADD", z, number(), word(), number(), word()),
        ("ZADD", z, random.choice(("NX", "XX")), number(), word()),
        ("ZADD", z, "GT", number(), word()),
        ("ZADD", z, "XX", "GT", "CH", number(), word()),
        ("ZADD", z, "1700000000000001", word()),
        ("ZADD", z, "x", word()),
        ("ZADD", z, number()),
        ("ZINCRBY", z, number(), word()),
        ("ZREM", z, word(), word()),
        ("ZCARD", z),
        ("ZSCORE", z, word()),
        ("ZRANK", z, word()),
        ("ZCOUNT", z, edge(), edge()),
        ("ZRANGE", z, number(), number(), *(("WITHSCORES",) if random.random() < 0.5 else ())),
        ("ZREVRANGE", z, number(), number()),
        ("ZRANGEBYSCORE", z, edge(), edge(), *limit),
        ("ZREVRANGEBYSCORE", z, edge(), edge(), *limit),
        ("ZRANGEBYSCORE", z, "x", 3),
        ("ZREMRANGEBYSCORE", z, edge(), edge()),
        ("ZREMRANGEBYRANK", z, number(), number()),
        ("XADD", x, "*", "seq", word(), "hash", word()),
        ("XLEN", x),
        ("XRANGE", x, "-", "+"),
        ("XREVRANGE", x, "+", "-", "COUNT", random.randint(1, 3)),
        ("XTRIM", x, "MAXLEN", random.randint(0, 5)),
    )
    return random.choice(commands)
