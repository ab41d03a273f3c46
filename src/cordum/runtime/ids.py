"""New names for things, injected, so that a test can foretell them."""

import itertools
import os
from typing import Protocol


class Ids(Protocol):
    """Where ids and random tokens come from."""

    def new(self) -> str:
        """A fresh id: UUID text."""

    def token(self, nbytes: int) -> str:
        """`nbytes` unguessable bytes, as hex text of twice that length."""


class RandomIds:
    """Version 4 UUIDs and tokens from the operating system."""

    def new(self) -> str:
        text = os.urandom(16).hex()
        # RFC 9562: version nibble 4, variant bits 10. Written out: uuid.uuid4() takes several times as long.
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"

    def token(self, nbytes: int) -> str:
        return os.urandom(nbytes).hex()


class SequentialIds:
    """Ids that count up, for tests."""

    def __init__(self, start: int = 1) -> None:
        self._numbers = itertools.count(start)

    def new(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012d}"

    def token(self, nbytes: int) -> str:
        return f"{next(self._numbers):0{2 * nbytes}x}"[-2 * nbytes :]
