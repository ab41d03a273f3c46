"""Workers' tokens: how they are made, hashed, and told from each other (spec-auth 3.7, spec-scheduler 11.3)."""

import hashlib
import re
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from cordum.core.errors import CordumError

TOKEN_BYTES: Final = 32
SALT_BYTES: Final = 16

_HASHER: Final = argon2.PasswordHasher(
    time_cost=3, memory_cost=65_536, parallelism=1, hash_len=32, salt_len=SALT_BYTES, type=argon2.Type.ID
)
_MOST_MEMORY: Final = 262_144  # KiB
_MOST_TIME: Final = 10
_MOST_LANES: Final = 4
"""A stored hash may ask for no more than this: checking it must not hold a scheduler up."""

_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class BadTokenHashError(CordumError):
    """What is stored as the hash of a worker's token is none that can be checked."""

    code = "bad_token_hash"


def token_of(secret: bytes) -> str:
    """The token of TOKEN_BYTES random bytes, as the worker sends it."""
    if len(secret) != TOKEN_BYTES:
        raise ValueError(f"a token has {TOKEN_BYTES} bytes")
    return secret.hex()


def is_token(text: str) -> bool:
    """Whether this can be a token we issued; anything else is refused without being checked."""
    return _TOKEN.fullmatch(text) is not None


def is_session(text: str) -> bool:
    """Whether this has the form of a session token, which is another thing (spec-scheduler 11.4)."""
    return _SESSION.fullmatch(text) is not None


def hash_token(token: str, salt: bytes) -> str:
    """The PHC text of a token: argon2id, 64 MiB, 3 passes. Takes tens of milliseconds: never on the event loop."""
    return _HASHER.hash(token, salt=salt)


def matches(token: str, phc: str) -> bool:
    """Whether a token is the one that was hashed. As slow as hashing: never on the event loop.

    Raises:
        BadTokenHashError: the hash cannot be read, or asks for more memory or time than we give.
    """
    try:
        wanted = argon2.extract_parameters(phc)
        if (
            wanted.type is not argon2.Type.ID
            or wanted.memory_cost > _MOST_MEMORY
            or wanted.time_cost > _MOST_TIME
            or wanted.parallelism > _MOST_LANES
        ):
            raise BadTokenHashError
        return _HASHER.verify(phc, token)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError, ValueError) as error:
        raise BadTokenHashError from error


def digest_of(token: str, key: bytes) -> bytes:
    """A keyed digest by which a token that was checked once is known again."""
    return hashlib.blake2b(token.encode(), key=key, digest_size=32).digest()
