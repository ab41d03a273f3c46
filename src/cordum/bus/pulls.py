"""How many messages a consumer has asked for, and what the server says about it: the book-keeping of pull requests."""

from enum import Enum, auto
from typing import Final

from cordum.bus.headers import Headers

_PENDING: Final = "Nats-Pending-Messages"

_GONE: Final = ("consumer deleted", "consumer is push based")
_MOVED: Final = ("leadership change", "server shutdown")


class Note(Enum):
    """What a status from the server means for the consumer."""

    ALIVE = auto()
    """Nothing new, but the server still knows the request."""
    EXPIRED = auto()
    """The request ran out; ask again."""
    MOVED = auto()
    """The server that held the request is no longer in charge; ask again in a moment."""
    GONE = auto()
    """The consumer does not exist (any more); set it up again."""
    REFUSED = auto()
    """The server does not like the request; log it and ask again in a moment."""


class Pulls:
    """The messages asked for and not yet received.

    A new request is due when half of a batch or less is still to come; never is more asked for than there is room.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self.outstanding = 0

    def due(self, room: int) -> int:
        """How many messages to ask for now, 0 for none, and counts them.

        Args:
            room: messages that may still be taken, those asked for not yet subtracted.
        """
        free = room - self.outstanding
        if free <= 0 or self.outstanding * 2 > self._batch or (self.outstanding and free * 2 < self._batch):
            return 0
        size = min(free, self._batch)
        self.outstanding += size
        return size

    def received(self) -> None:
        if self.outstanding:
            self.outstanding -= 1

    def forget(self) -> None:
        """Whatever was asked for will not come."""
        self.outstanding = 0

    def note(self, headers: Headers) -> Note:
        """Reads a status and forgets what it ends."""
        what = _meaning(headers)
        if what is Note.ALIVE:
            return what
        left = headers.fields.get(_PENDING, "")
        if what in (Note.EXPIRED, Note.REFUSED) and left.isascii() and left.isdigit():
            self.outstanding = max(0, self.outstanding - int(left))
        else:
            self.outstanding = 0
        return what


def _meaning(headers: Headers) -> Note:
    match headers.status:
        case 100:  # idle heartbeat
            return Note.ALIVE
        case 404 | 408:  # no messages; request timeout
            return Note.EXPIRED
        case 503:  # no responders
            return Note.GONE
        case 409 if headers.description.lower().startswith(_GONE):
            return Note.GONE
        case 409 if headers.description.lower().startswith(_MOVED):
            return Note.MOVED
        case _:
            return Note.REFUSED
