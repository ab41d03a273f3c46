"""The chain: every entry carries the hash of the one before it, so that none can be changed, dropped or put in between
without its being seen (spec-auth section 7.3).

`event_hash` is the SHA-256 of an entry without `seq`, `event_hash` and `hmac`, but with `prev_hash`. Where a key is
set, `hmac` signs the same entry together with its `seq` and the key's name: whoever can write to the store, but has no
key, cannot write a chain of their own.
"""

import hashlib
import hmac as hmac_
from collections.abc import Sequence
from typing import Final

import msgspec

from cordum.core.audit.wire import ChainEntry, canonical


class Head(msgspec.Struct, frozen=True):
    """Where a chain ends: the number and the hash of its last entry. The empty chain ends at 0."""

    seq: int = 0
    hash: str = ""


EMPTY: Final = Head()


class ChainKey(msgspec.Struct, frozen=True):
    """A key that entries are signed with, and the name that says which one it was."""

    name: str
    secret: bytes

    @classmethod
    def of(cls, secret: bytes) -> "ChainKey":
        return cls(hashlib.sha256(b"cordum audit key:" + secret).hexdigest()[:8], secret)


def sealed(entries: Sequence[ChainEntry], head: Head, key: ChainKey | None) -> tuple[list[ChainEntry], Head]:
    """The entries as they continue the chain after `head`, and the head afterwards."""
    chained: list[ChainEntry] = []
    for entry in entries:
        bare = msgspec.structs.replace(entry, seq=0, event_hash="", prev_hash=head.hash, hmac="")
        head = Head(head.seq + 1, event_hash(bare))
        chained.append(
            msgspec.structs.replace(
                bare, seq=head.seq, event_hash=head.hash, hmac="" if key is None else signature(bare, head.seq, key)
            )
        )
    return chained, head


def event_hash(entry: ChainEntry) -> str:
    """The hash an entry must carry; whatever it does carry is not looked at."""
    return hashlib.sha256(_hashed_bytes(entry)).hexdigest()


def signature(entry: ChainEntry, seq: int, key: ChainKey) -> str:
    """`<name of the key>:<hex>`."""
    signed = b"%s\n%d\n%s" % (key.name.encode(), seq, _hashed_bytes(entry))
    return f"{key.name}:{hmac_.new(key.secret, signed, hashlib.sha256).hexdigest()}"


def _hashed_bytes(entry: ChainEntry) -> bytes:
    return canonical(msgspec.structs.replace(entry, seq=0, event_hash="", hmac=""))
